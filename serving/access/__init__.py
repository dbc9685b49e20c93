"""Access to the service: API keys, their scopes and their request rates.

It refuses a request before a route sees it. It imports `errors`, `http` and `feature_repo.files`,
and contains nothing about coupons.
"""
