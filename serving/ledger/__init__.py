"""The ledger: uses, reservations and impressions of coupons with limits.

One interface, kept in SQLite or in Redis, behind a circuit breaker. Knows no candidate and no
request.
"""
