"""The lake: Delta tables of the contract, in numbered states.

`reader` reads a state, `landing` is the only writer, `duckdb_files` queries files. Imports the
contract alone.
"""
