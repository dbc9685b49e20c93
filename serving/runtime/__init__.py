"""Clocks, deadlines, threads, the circuit breaker and numbers from the environment.

Any room may use it. It imports `errors` and contains nothing about coupons. Keep it small.
"""
