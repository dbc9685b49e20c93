"""The HTTP API: routes, readiness and the docs page.

This room alone knows FastAPI's routing; it decides nothing. It offers `create_app` and `Service` to
`main` and `wiring`.
"""
