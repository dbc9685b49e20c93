"""The comparison of features: two lake versions, or the offline and the online store.

`features` chooses what to compare, `comparison` runs it, `readers` read the stores, and
`differences` finds and formats the differences. Imports `flows` and `feature_repo`.
"""
