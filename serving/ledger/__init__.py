"""The ledger: redemptions, reservations and impressions of coupons with limits.

One interface, stored in SQLite or in Redis, behind a circuit breaker. It has neither the limits nor
the candidates: rules and claims bring them. Imports errors and the circuit breaker.
"""
