"""Rules that remove coupons, whatever their score.

`eligibility` needs no ledger, `usage` does; `filter` applies them in order. A rule is a function of
a `RuleContext`. Imports candidates and the ledger's values.
"""
