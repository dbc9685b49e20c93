"""The decision log: a record of every answer, in Parquet files.

`log` writes in a thread, `shadow` ranks for a challenger after the answer. Knows no ranker and no
rule.
"""
