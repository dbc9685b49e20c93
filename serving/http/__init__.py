"""HTTP below the routes: sockets, workers, limits and problem documents.

It knows no coupon and no API key. It imports `errors`, `runtime` and `telemetry`.
"""
