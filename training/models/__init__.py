"""Models: the ranker and the baselines that it must beat.

Each model scores the pairs of a frame. Imports the training data and the service's scores.
"""
