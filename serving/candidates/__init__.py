"""Candidate coupons in memory: index, terms, discounts, carts and quotes.

Arrays that are built after each materialization and read by every request. `discounts` computes
what a coupon takes off a cart, and applies its cap. Imports `feature_repo` alone.
"""
