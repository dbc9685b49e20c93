"""Policies: scores of the plain rules, probabilities, order, exploration, department limits.

Pure functions on arrays. Training imports `scores`, `probability` and `order`, to evaluate the
policy that serves.
"""
