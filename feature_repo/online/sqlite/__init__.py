"""Feast's SQLite store, with writes that never replace a newer row.

`store` is the class for Feast, `guard` its SQL. Imports the stored form alone.
"""
