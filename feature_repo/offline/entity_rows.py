"""Entity rows of a query: a data frame or SQL, with instants as UTC microseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.errors import EntityTimestampInferenceException
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from feature_repo.lake.duckdb_files import quoted
from feature_repo.offline.errors import PointInTimeError, duckdb_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class EntityRows:
    """Entity rows of a query: ``table`` has the rows of a data frame, else ``sql`` selects them.

    The result has ``columns`` unchanged. ``time`` is the column of the instants.
    """

    columns: tuple[str, ...]
    time: str
    table: pa.Table | None = None
    sql: str = ""

    @property
    def count(self) -> int | None:
        """Number of rows; None for SQL, which has not run yet."""
        return None if self.table is None else self.table.num_rows

    def blocks(self, connection: DuckDBPyConnection, size: int) -> Iterator[pa.Table]:
        """Yields the rows in their order, at most ``size`` at once and at least one block.

        SQL is streamed. As in Feast, instants given as text become instants.
        """
        if self.table is not None:
            starts = range(0, max(self.table.num_rows, 1), size)
            yield from (self._timed(self.table.slice(start, size)) for start in starts)
            return
        with duckdb_errors("The SQL for the entity rows"):
            reader = connection.sql(self.sql).to_arrow_reader(size)
            parts = _gather(reader, size)
            first = next(parts, None)
        yield self._timed(reader.schema.empty_table() if first is None else first)
        del first
        yield from map(self._timed, parts)

    def register(
        self,
        connection: DuckDBPyConnection,
        block: pa.Table,
        keys: Sequence[str],
        before: int,
        strict: bool,
    ) -> None:
        """Registers a block as ``entities``: its keys as e0, e1..., ``_row`` from 0 and ``_at``.

        No other column enters DuckDB, so that none can have the name of one of these. A ``_at``
        between two microseconds is rounded so that it sees the same rows. ``before`` is the number
        of rows in earlier blocks. Raises PointInTimeError if a row has no instant.
        """
        moments = instants(block, self.time, strict)
        if moments.null_count:
            row = before + moments.is_null().index(True).as_py()
            raise PointInTimeError(
                f"Expected an instant in {self.time} of every entity row, but row {row} (from 0) "
                "has none; add one or leave the row out."
            )
        rows = {f"e{number}": block[key] for number, key in enumerate(keys)}
        numbers = pa.array(np.arange(block.num_rows))
        connection.register("entities", pa.table(rows | {"_row": numbers, "_at": moments}))

    def span(self, connection: DuckDBPyConnection) -> tuple[datetime | None, datetime | None]:
        """Returns the earliest and the latest instant, UTC; None if there are no rows."""
        if self.table is not None:
            connection.register("spanned", pa.table({"at": instants(self.table, self.time, False)}))
            source, column = "spanned", '"at"'
        else:
            source, column = f"({self.sql}\n)", f"CAST({quoted(self.time)} AS TIMESTAMPTZ)"
        [ends] = connection.execute(f"SELECT min({column}), max({column}) FROM {source}").fetchall()
        return ends[0], ends[1]

    def _timed(self, block: pa.Table) -> pa.Table:
        if pa.types.is_timestamp(block.schema.field(self.time).type):
            return block
        moments = instants(block, self.time, strict=False)
        return block.set_column(self.columns.index(self.time), self.time, moments)


def _gather(reader: pa.RecordBatchReader, size: int) -> Iterator[pa.Table]:
    """Yields tables of at most ``size`` rows, each of several batches of the reader."""
    parts: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        if parts and rows + batch.num_rows > size:
            yield pa.Table.from_batches(parts)
            parts, rows = [], 0
        parts.append(batch)
        rows += batch.num_rows
    if parts:
        yield pa.Table.from_batches(parts)


def instants(block: pa.Table, time: str, strict: bool) -> pa.Array:
    """Returns a column's instants in UTC microseconds.

    Nanoseconds are rounded up if ``strict``, else down. Raises PointInTimeError for a value that
    is no instant; a number is none, as it may be seconds, milliseconds or nanoseconds.
    """
    column = block[time]
    if not any(fits(column.type) for fits in _INSTANTS):
        raise PointInTimeError(
            f"Expected instants in the column {time} of the entity rows, got {column.type}; "
            "convert them, as by pd.to_datetime(..., unit='s', utc=True) for seconds since 1970."
        )
    is_text = any(fits(column.type) for fits in _TEXTS)
    try:
        moments = pd.to_datetime(
            column.to_pandas(), utc=True, format="ISO8601" if is_text else None
        )
    except (ValueError, TypeError) as error:
        raise PointInTimeError(
            f"Expected instants in the column {time} of the entity rows, got {error}."
        ) from error
    if moments.dt.unit == "ns":
        moments = moments.dt.ceil("us") if strict else moments.dt.floor("us")
    return pa.array(moments.astype("datetime64[us, UTC]"), pa.timestamp("us", "UTC"))


def entity_rows(entity_df: pd.DataFrame | str | None, connection: DuckDBPyConnection) -> EntityRows:
    """Reads entity rows from a data frame, or from a SQL query that DuckDB runs.

    Raises PointInTimeError if there are none, or if the columns cannot be read.
    """
    if entity_df is None:
        raise PointInTimeError(
            "Expected a data frame or SQL with the entity keys and an event_timestamp, got none."
        )
    if isinstance(entity_df, str):
        with duckdb_errors("The SQL for the entity rows"):
            sql = _one_query(connection, entity_df)
            names = connection.sql(sql).columns
            frame = connection.sql(f"SELECT * FROM ({sql}\n) LIMIT 0").df()
        return EntityRows(tuple(names), _time_of(names, frame), sql=sql)
    names = [str(name) for name in entity_df.columns]
    time = _time_of(names, entity_df)
    try:
        table = pa.Table.from_pandas(entity_df, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise PointInTimeError(
            f"Expected one type in each column of the entity rows, but {'; '.join(error.args)}; "
            "convert that column first."
        ) from error
    return EntityRows(tuple(names), time, table=table.replace_schema_metadata(None))


def _one_query(connection: DuckDBPyConnection, sql: str) -> str:
    """Returns SQL without the semicolons and comments at its end, so that it can be nested.

    Raises PointInTimeError unless it is one query.
    """
    import duckdb

    if len(connection.extract_statements(sql)) != 1:
        raise PointInTimeError(
            "Expected one SELECT for the entity rows, got "
            f"{len(connection.extract_statements(sql))} statements; join them into one."
        )
    raw, end = sql.encode(), len(sql.encode())
    for offset, kind in reversed(duckdb.tokenize(sql)):
        if kind != duckdb.token_type.comment and raw[offset : offset + 1] != b";":
            break
        end = offset
    return raw[:end].decode()


def _time_of(names: Sequence[str], frame: pd.DataFrame) -> str:
    """Returns the column of the instants: event_timestamp, else the only one of a time type.

    Raises PointInTimeError if there is none, or if two columns have one name.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise PointInTimeError(
            "Expected entity rows with columns of different names, got "
            f"{', '.join(twice)} more than once; rename or drop one."
        )
    try:
        return infer_event_timestamp_from_entity_df(dict(zip(names, frame.dtypes, strict=True)))
    except EntityTimestampInferenceException as error:
        raise PointInTimeError(
            "Expected a column event_timestamp in the entity rows, or one column alone of a time "
            f"type, got {', '.join(names)}; add or rename it."
        ) from error


def refuse_unfit_ids(schema: pa.Schema, keys: Sequence[str]) -> None:
    """Raises PointInTimeError for ids of the lake that are neither text nor whole numbers.

    The lake's ids are text. A whole number has one spelling; a number of another type does not.
    """
    for key in keys:
        kind = schema.field(key).type
        if not any(fits(kind) for fits in _IDS):
            raise PointInTimeError(
                f"Expected text or whole numbers in {key} of the entity rows, got {kind}; convert "
                "that column to str first (pandas turns whole numbers into floats where one is "
                "missing)."
            )


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_INSTANTS = (*_TEXTS, pa.types.is_timestamp, pa.types.is_date, pa.types.is_null)
_IDS = (
    *_TEXTS,
    pa.types.is_integer,
    pa.types.is_dictionary,
    pa.types.is_null,
)
