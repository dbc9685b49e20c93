"""A folder with a ``contract.sql``: DuckDB SQL that turns any files into the contract's tables.

`source` reads the folder. `statements` parses the file, `session` runs it without network and with
no file outside the folder, and `columns` checks each SELECT. `draft` writes a first version from
`guesses`, and `messages` shortens DuckDB's errors.
Imports the contract, the lake and the casts of the other sources.
"""
