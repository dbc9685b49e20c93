"""Offline studies: backtests, searches, learning curves, ceilings and influences.

Trains and evaluates models again and again. Offers plain results to the flows and the report.
"""
