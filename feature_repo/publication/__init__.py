"""Publication: the change rows of all feature views, for one state of the lake.

Runs the history expressions on DuckDB and writes Parquet files. Offers the folder of a published
state to the stores, and the instants of a coupon's changes to training. Imports the contract, the
lake, `files` and the history transforms.
"""
