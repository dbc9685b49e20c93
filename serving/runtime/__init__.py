"""Clocks, deadlines, threads and the circuit breaker.

What any room may use, and knows nothing of coupons. It must not grow.
"""
