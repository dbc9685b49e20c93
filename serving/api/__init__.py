"""The HTTP API: routes, readiness and the docs page.

Only this room uses FastAPI's routing; it decides nothing. It offers `create_app` and `Service` to
`main` and `wiring`.
"""
