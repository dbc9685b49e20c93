"""Feature expressions, without stores and without a clock.

`history` computes features from the lake, `request` at the time of a request. Both take the
instant as an argument. Imports the contract and `instants`.
"""
