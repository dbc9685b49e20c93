"""Request-time features: pure NumPy functions of stored features and an instant.

Training calls them on millions of pairs, serving on the candidates of one user. `ranker_inputs`
offers the columns of a ranker, `reasons` the texts of their effects. Imports the contract,
`instants` and `transforms`.
"""
