"""Request-time features: pure NumPy functions of features and an instant.

Training calls them on millions of pairs and serving on one user's candidates. `ranker_inputs`
offers the columns of a ranker, `reasons` the wording of their effects.
"""
