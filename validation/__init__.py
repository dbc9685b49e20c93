"""The checks that decide which rows may land.

Great Expectations suites in code, one a table, and the quarantine for rows that fail. Imports
`feature_repo` alone. Offers `ingestion` to the flows.
"""
