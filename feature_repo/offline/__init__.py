"""The offline store: point-in-time joins and pulls on DuckDB.

Reads the lake, its published views, or plain files of another repository. Offers Feast the class
in `store`. May not import the online store.
"""
