"""HTTP below the routes: sockets, workers, limits and problem documents.

It contains nothing about coupons or API keys. It imports `errors`, `runtime` and `telemetry`.
"""
