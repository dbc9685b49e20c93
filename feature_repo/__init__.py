"""The data and the features: what Clipwise knows.

Holds the raw tables' contract, the lake, the sources, the feature expressions, and the Feast
stores. Imports no other package. `feature_store.yaml` names its public classes.
"""
