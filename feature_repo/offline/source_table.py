"""One source of a query in DuckDB: a relation, and SQL for its columns and instants.

A column is always written with the relation before it, as in ``f."trips"``. So no column of a user
has the name of one of ours, whatever its name is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feature_repo.lake.duckdb_files import quoted
from feature_repo.offline.errors import PointInTimeError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class SourceTable:
    """A source as the relation ``f`` of a query.

    ``columns`` maps the names of the source to names and types in DuckDB. ``happened`` and
    ``created`` are the source's columns of instants.
    """

    relation: str
    columns: Mapping[str, tuple[str, str]]
    happened: str
    created: str | None

    def of(self, relation: str) -> SourceTable:
        """Returns the same columns in another relation, such as some of the rows."""
        return replace(self, relation=relation)

    def column(self, name: str) -> str:
        """Returns SQL for a column. Raises PointInTimeError if the source has no such column."""
        return f"f.{quoted(self._found(name)[0])}"

    def _found(self, name: str) -> tuple[str, str]:
        if name in self.columns:
            return self.columns[name]
        alike = [one for one in self.columns if one.lower() == name.lower()]
        if len(alike) == 1:
            return self.columns[alike[0]]
        raise PointInTimeError(
            f"Expected a column {name}, got {', '.join(alike or self.columns)}; correct the view, "
            "or name the column in the source's field_mapping."
        )

    def instant(self, name: str) -> str:
        """Returns SQL for a column of instants as TIMESTAMPTZ; whole numbers are seconds.

        pandas writes nanoseconds, which DuckDB does not compare with instants.
        """
        kind = self._found(name)[1]
        function = "to_timestamp({})" if kind in _WHOLE else "CAST({} AS TIMESTAMPTZ)"
        return function.format(self.column(name))

    @property
    def event(self) -> str:
        """SQL for the instant at which a row happened."""
        return self.instant(self.happened)

    @property
    def learned(self) -> str:
        """SQL for the instant at which a row was learned; null there means the event's."""
        return (
            f"coalesce({self.instant(self.created)}, {self.event})" if self.created else self.event
        )

    def newest_of_ties(self, key: str, columns: Sequence[str]) -> str:
        """Returns a clause that keeps one row a key among those of one instant.

        Keeps the row learned last. Then the values decide, greatest first in the order of the
        view's columns, so that the result does not depend on the order in which rows were written.
        """
        values = (self.column(column) for column in columns)
        order = ", ".join(f"{one} DESC NULLS LAST" for one in (self.learned, *values))
        return f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1"


_WHOLE = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
}


def columns_of(
    connection: DuckDBPyConnection, relation: str, files: str = ""
) -> dict[str, tuple[str, str]]:
    """Returns a relation's columns: the name in the source, and the name and type in DuckDB.

    ``files`` is SQL for the Parquet files of the relation. For DuckDB a name is the same in any
    case, so of their columns Trips and trips it renames the second one.
    """
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    names = [name for name, *_ in described]
    if files and _has_renamed(names):
        stored = _stored_names(connection, files)
        names = [*stored, *names[len(stored) :]]
    return {name: (row[0], row[1]) for name, row in zip(names, described, strict=True)}


def _has_renamed(names: Iterable[str]) -> bool:
    """True if DuckDB may have renamed a column: to the name of another one and a number."""
    known = {name.lower() for name in names}
    parts = (name.rpartition("_") for name in known)
    return any(number.isdigit() and before in known for before, _, number in parts)


def _stored_names(connection: DuckDBPyConnection, files: str) -> list[str]:
    """Returns the column names of the first file; the fields of nested columns are left out."""
    rows = connection.execute(
        f"SELECT file_name, name, coalesce(num_children, 0) FROM parquet_schema({files})"
    ).fetchall()
    nodes = ((name, children) for file, name, children in rows if file == rows[0][0])
    _, count = next(nodes)
    names = []
    for _ in range(count):
        name, below = next(nodes)
        names.append(name)
        while below:
            below += next(nodes)[1] - 1
    return names
