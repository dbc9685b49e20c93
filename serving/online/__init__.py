"""Reads of the online store, with a timeout and a circuit breaker.

Offers a user's features to `recommend` and all coupons to the candidate index.
"""
