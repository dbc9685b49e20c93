"""Policies: scores of the plain rules, the order of a list, exploration, department limits.

Pure functions on arrays. Training imports `scores` and `order`, to evaluate the policy that serves.
"""
