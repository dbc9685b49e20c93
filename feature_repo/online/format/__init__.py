"""The stored form of features online: keys, values, instants, progress marks, expiry.

The bytes are Feast's, so that plain Feast reads them. `guarded_store` is the base of both stores.
Imports neither store, and opens no file or connection.
"""
