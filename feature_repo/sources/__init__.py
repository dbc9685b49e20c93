"""Sources: adapters that read one origin and return a ``Batch`` of contract tables.

`complete_journey` is an adapter, and so are the rooms `files` and `sql`, which use `casting`,
`local_times` and the room `spellings`. The flows choose the adapter. `requests` derives requests
for coupons from the lake and the decision log. Imports the contract, the lake and `names`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class SourceError(Exception):
    """A source does not fit the contract; the message names the file and states what to do."""


@dataclass(frozen=True)
class Batch:
    """The content of a source in contract tables, before validation.

    ``tables`` are Arrow tables in contract columns and types. Their further column ``_row`` is the
    number of the row in its source. ``rejected`` holds, by table, the rows that do not fit these
    types (row_number, rule, reason, payload). The source is complete up to ``watermark``; None if
    it does not state one. ``learned`` is "stated" for a table with created_timestamp in the source,
    and "assumed" for one that repeats event_timestamp. ``assumed`` are sentences on what the source
    does not state and the adapter took for granted.
    """

    source: str
    tables: Mapping[str, "pa.Table"]
    watermark: datetime | None = None
    learned: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, "pa.Table"] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def numbered(table: "pa.Table") -> "pa.Table":
    """Returns the table with its row numbers from 1 in the further column ``_row``."""
    import pyarrow as pa

    return table.append_column("_row", pa.array(range(1, table.num_rows + 1), pa.int64()))
