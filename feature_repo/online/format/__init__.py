"""The stored form of features online: keys, values, instants, marks.

The bytes are Feast's, so that plain Feast reads them. Knows no store and no network.
"""
