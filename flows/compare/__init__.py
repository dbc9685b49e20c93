"""Comparison of features: two lake versions, or history and the online store.

`sides` reads them, `differences` finds and words what differs. Imports `feature_repo`.
"""
