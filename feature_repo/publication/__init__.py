"""Publication: the change rows of every feature view, for one state of the lake.

Runs the history expressions on DuckDB and writes Parquet files. Offers the folder of a published
view to the stores.
"""
