"""The HTTP API: routes, readiness and the documentation page.

The room that knows FastAPI; it decides nothing. Offers `create_app` and `Service` to `main` and
`wiring`.
"""
