"""The decision for one request, step by step.

Candidates, features, scores, selection, answer, record: each step has a module, and `recommender`
calls them in order. Imports the rooms of the steps, and nothing of HTTP.
"""
