"""Prefect flows, one in each module, and the command line.

A flow calls the other packages in order and computes nothing itself. No package imports this one.
"""
