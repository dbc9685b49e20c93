"""The contract: the raw tables, their columns and their rules.

Imports only names. Other rooms read `TABLES` and the vocabularies from here.
"""

from feature_repo.contract.table import LARGEST, Column, Parent, Table
from feature_repo.contract.tables import (
    AUDIENCES,
    COUPON_PRODUCTS,
    COUPON_TERMS,
    DISCOUNT_TYPES,
    EVENT_TYPES,
    MIN_SPEND_BASES,
    MINOR_UNITS,
    PRODUCT_TERMS,
    SCHEMA_VERSION,
    TABLES,
    arrow_schema,
)

__all__ = [
    "AUDIENCES",
    "COUPON_PRODUCTS",
    "COUPON_TERMS",
    "Column",
    "DISCOUNT_TYPES",
    "EVENT_TYPES",
    "LARGEST",
    "MIN_SPEND_BASES",
    "MINOR_UNITS",
    "PRODUCT_TERMS",
    "Parent",
    "SCHEMA_VERSION",
    "TABLES",
    "Table",
    "arrow_schema",
]
