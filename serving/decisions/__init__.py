"""The decision log: a record of every answer, in Parquet files.

`log` writes files in a thread; `shadow` ranks for a challenger after the answer. The room imports
no ranker and no rule.
"""
