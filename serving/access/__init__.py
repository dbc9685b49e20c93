"""Access to the service: API keys, their scopes and their request rates.

Refuses a request before a route sees it. Imports `http`; knows no coupon.
"""
