"""Feast's Redis store, with writes that never replace a newer row.

`store` is the class for Feast, `guard` and `lua_scripts` its atomic writes. `calls` sends the
scripts, and `connection` reads for the service. Imports the stored form alone.
"""
