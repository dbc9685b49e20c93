"""Candidate coupons in memory: index, terms, carts and quotes.

Arrays that are built once and read by every request. Imports `feature_repo` and the clock.
"""
