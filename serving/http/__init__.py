"""HTTP below the routes: sockets, workers, limits, problem documents.

Knows no coupon and no API key. Imports errors, `runtime` and `telemetry`.
"""
