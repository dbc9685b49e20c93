"""The data and the features that every other package works on.

Holds the raw tables' contract, the lake, the sources, the feature expressions, and the Feast
stores. Imports no other package. `feature_store.yaml` names its public classes.
"""
