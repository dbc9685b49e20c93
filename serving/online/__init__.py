"""Reads of the online store, with a timeout, a circuit breaker and a cache for outages.

Offers a user's features to `recommend` and all coupons to the candidate index.
"""
