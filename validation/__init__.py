"""Validation: checks of incoming rows, and the quarantine for rows that fail.

The checks are Great Expectations suites in code, one for each table. Imports `feature_repo` alone.
Offers `ingestion`, `docs` and `threshold` to the flows.
"""
