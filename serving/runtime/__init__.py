"""Clocks, deadlines, threads, the circuit breaker and numbers from the environment.

Any room may use it. It imports `errors` and knows no coupon. Keep it small.
"""
