"""The shape of a batch: tables, columns, types and row numbers, checked before any row."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, Table, arrow_schema
from validation.findings import ROW

if TYPE_CHECKING:
    import pyarrow as pa

_REJECTED = ("row_number", "rule", "reason", "payload")


class BatchError(Exception):
    """A batch that cannot be checked row by row; the message names the table and what to do."""


def check_shape(
    batch: "Mapping[str, pa.Table]", rejected: "Mapping[str, pa.Table]", as_of: datetime
) -> None:
    """Raises BatchError unless all tables have the contract's columns, types and row numbers."""
    if as_of.tzinfo is None:
        raise BatchError(
            f"as_of must be an instant with a time zone, but is {as_of.isoformat()}; "
            "add the zone, as in 2017-12-31T00:00:00+00:00."
        )
    for name in (*batch, *rejected):
        if name not in TABLES:
            raise BatchError(
                f"The contract has no table {name!r}, only {', '.join(TABLES)}; "
                "rename the table or leave it out."
            )
    for name, rows in batch.items():
        _check_columns(TABLES[name], rows)
    for name, rows in rejected.items():
        _check_rejected(name, rows)
    for name in TABLES:
        _check_numbers(name, batch.get(name), rejected.get(name))


def empty_rows(table: Table) -> "pa.Table":
    """Returns a table without rows, for a table with rejected rows only."""
    import pyarrow as pa

    return arrow_schema(table).append(pa.field(ROW, pa.int64())).empty_table()


def _check_columns(table: Table, rows: "pa.Table") -> None:
    import pyarrow as pa

    wanted = {field.name: field.type for field in arrow_schema(table)} | {ROW: pa.int64()}
    missing = [name for name in wanted if name not in rows.column_names]
    if missing:
        raise BatchError(
            f"{table.name} needs the columns {', '.join(missing)}, but has only "
            f"{', '.join(rows.column_names)}; add them or map other columns to them."
        )
    surplus = [name for name in rows.column_names if name not in wanted]
    if surplus or len(rows.column_names) != len(wanted):
        raise BatchError(
            f"{table.name} has columns that are not in the contract, or has a column twice "
            f"({', '.join(surplus or rows.column_names)}); leave them out."
        )
    for name, kind in wanted.items():
        if rows.schema.field(name).type != kind:
            raise BatchError(
                f"{table.name}.{name} must be of type {kind}, but is "
                f"{rows.schema.field(name).type}; cast it in the adapter."
            )


def _check_rejected(name: str, rows: "pa.Table") -> None:
    missing = [column for column in _REJECTED if column not in rows.column_names]
    if missing:
        raise BatchError(
            f"The rejected rows of {name} need the columns {', '.join(_REJECTED)}, but lack "
            f"{', '.join(missing)}; add them in the adapter."
        )


def _check_numbers(name: str, rows: "pa.Table | None", rejected: "pa.Table | None") -> None:
    """Raises BatchError unless each row of a source has a number of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [] if rows is None else [rows[ROW]]
    parts += [] if rejected is None else [rejected["row_number"].cast(pa.int64())]
    numbers = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.int64())
    if numbers.null_count or pc.count_distinct(numbers).as_py() != len(numbers):
        raise BatchError(
            f"The row numbers of {name} ({ROW}, and row_number of rejected rows) must differ, but "
            "some are null or come twice; number the rows in the adapter."
        )
