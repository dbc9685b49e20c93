"""Sources: adapters that yield a ``Batch`` of contract tables from one origin.

Each adapter is a module; `casting` and `mapping` are shared. Imports the contract and the lake's
instants. The flows choose the adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


class SourceError(Exception):
    """A source cannot be read as the contract; the message names the file and what to do."""


@dataclass(frozen=True)
class Batch:
    """What a source holds, in the contract, before validation.

    ``tables`` are Arrow tables in contract columns and types with one more column ``_row``, the
    row's number in its source. ``rejected`` holds per table the rows that could not be read in
    these types (row_number, rule, reason, payload). ``watermark`` is the instant up to which the
    source claims to be complete; None if it does not say. ``learned`` is "stated" for a table
    whose created_timestamp comes from the source and "assumed" where it repeats event_timestamp.
    """

    source: str
    tables: Mapping[str, object]
    watermark: datetime | None = None
    learned: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, object] = field(default_factory=dict)


def numbered(table):
    """The table with its row numbers, counted from 1, in the column ``_row``."""
    import pyarrow as pa

    return table.append_column("_row", pa.array(range(1, table.num_rows + 1), pa.int64()))
