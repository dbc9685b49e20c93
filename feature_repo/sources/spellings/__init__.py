"""Spellings: values that say the same as the contract, but are written in another way.

Each module rewrites the columns of one kind where the meaning is certain, and returns a note of
what it took for granted. What is not certain stays as it is, so that casting refuses it. Imports
the contract.
"""
