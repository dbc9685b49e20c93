"""Materialization: writes the rows that are not online yet, in bulk.

`engine` is the class for Feast. Reads through the offline store and writes to either online store.
"""
