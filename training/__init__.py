"""The rankers: how they are trained, compared, explained and registered.

Imports `feature_repo`, and of the service only the scores and the order that it ranks by.
"""
