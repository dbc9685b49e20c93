"""Offline studies: backtests, searches, learning curves, ceilings, influence and examples.

Trains and evaluates models many times. Offers the results as plain data to flows and report.
"""
