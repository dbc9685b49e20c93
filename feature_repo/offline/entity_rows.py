"""The entity rows of a query: a data frame or SQL, read with their instants in UTC microseconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from feature_repo.offline.errors import PointInTimeError, duckdb_errors


@dataclass(frozen=True)
class EntityRows:
    """Rows to answer, one each: ``table`` holds a frame's rows, else ``sql`` gives them.

    ``columns`` come back as they came; ``time`` is the one that holds the instants.
    """

    columns: tuple[str, ...]
    time: str
    table: pa.Table | None = None
    sql: str = ""

    @property
    def count(self) -> int | None:
        """How many there are, where that is known beforehand."""
        return None if self.table is None else self.table.num_rows

    def blocks(self, connection: Any, size: int) -> Iterator[pa.Table]:
        """The rows in their order, at most ``size`` at once, at least one block; SQL is streamed.

        Instants are instants even where they came as text, as in Feast.
        """
        if self.table is not None:
            starts = range(0, max(self.table.num_rows, 1), size)
            yield from (self._timed(self.table.slice(start, size)) for start in starts)
            return
        with duckdb_errors("The SQL for the entity rows"):
            reader = connection.sql(self.sql).to_arrow_reader(size)
            parts = _gathered(reader, size)
            first = next(parts, None)
        yield self._timed(reader.schema.empty_table() if first is None else first)
        del first
        yield from map(self._timed, parts)

    def land(self, connection: Any, block: pa.Table, before: int, strict: bool) -> None:
        """Make ``entities`` of a block on a connection: its columns, ``_row`` from 0 and ``_at``.

        A ``_at`` between two microseconds is moved so that it sees the same rows.
        Raises PointInTimeError if a row has no instant; ``before`` counts the rows of earlier ones.
        """
        moments = instants(block, self.time, strict)
        if moments.null_count:
            row = before + moments.is_null().index(True).as_py()
            raise PointInTimeError(
                f"Expected an instant in {self.time} of every entity row, but row {row} (from 0) "
                "has none; give it one or leave the row out."
            )
        rows = block.append_column("_row", pa.array(np.arange(block.num_rows)))
        connection.register("entities", rows.append_column("_at", moments))

    def span(self, connection: Any) -> tuple[datetime | None, datetime | None]:
        """The earliest and the latest instant, UTC."""
        if self.table is not None:
            connection.register("spanned", pa.table({"at": instants(self.table, self.time, False)}))
            source, column = "spanned", '"at"'
        else:
            source, column = f"({self.sql})", f'CAST("{self.time}" AS TIMESTAMPTZ)'
        [ends] = connection.execute(f"SELECT min({column}), max({column}) FROM {source}").fetchall()
        return ends

    def _timed(self, block: pa.Table) -> pa.Table:
        if pa.types.is_timestamp(block.schema.field(self.time).type):
            return block
        moments = instants(block, self.time, strict=False)
        return block.set_column(self.columns.index(self.time), self.time, moments)


def _gathered(reader: pa.RecordBatchReader, size: int) -> Iterator[pa.Table]:
    """Tables of at most ``size`` rows, each of as many batches as that takes: they are smaller."""
    parts, rows = [], 0
    for batch in reader:
        if parts and rows + batch.num_rows > size:
            yield pa.Table.from_batches(parts)
            parts, rows = [], 0
        parts.append(batch)
        rows += batch.num_rows
    if parts:
        yield pa.Table.from_batches(parts)


def instants(block: pa.Table, time: str, strict: bool) -> pa.Array:
    """A column's instants in UTC microseconds; those in between go up if ``strict``, else down.

    Raises PointInTimeError for what is no instant.
    """
    column = block[time]
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    try:
        moments = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601" if text else None)
    except (ValueError, TypeError) as error:
        raise PointInTimeError(
            f"Expected instants in the column {time} of the entity rows, got {error}."
        ) from error
    if moments.dt.unit == "ns":
        moments = moments.dt.ceil("us") if strict else moments.dt.floor("us")
    return pa.array(moments.astype("datetime64[us, UTC]"), pa.timestamp("us", "UTC"))


def entity_rows(entity_df: pd.DataFrame | str | None, connection: Any) -> EntityRows:
    """The entity rows of a data frame, or of a SQL query that DuckDB answers.

    Raises PointInTimeError if there are none, or if the columns cannot be read.
    """
    if entity_df is None:
        raise PointInTimeError(
            "Expected a data frame or SQL with the entity keys and an event_timestamp, got none."
        )
    if isinstance(entity_df, str):
        with duckdb_errors("The SQL for the entity rows"):
            sample = connection.sql(f"SELECT * FROM ({entity_df}) LIMIT 0").df()
        return EntityRows(*_named(sample), sql=entity_df)
    try:
        table = pa.Table.from_pandas(entity_df, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise PointInTimeError(
            f"Expected one type in each column of the entity rows, but {'; '.join(error.args)}; "
            "convert that column first."
        ) from error
    return EntityRows(*_named(entity_df), table=table.replace_schema_metadata(None))


def _named(frame: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    schema = dict(zip(frame.columns, frame.dtypes, strict=True))
    return tuple(frame.columns), infer_event_timestamp_from_entity_df(schema)


def refuse_other_ids(schema: pa.Schema, keys: Sequence[str]) -> None:
    """Refuse ids of the lake that are neither text nor whole numbers. Raises PointInTimeError.

    The lake's ids are text; those of a whole number have one spelling, others do not.
    """
    for key in keys:
        kind = schema.field(key).type
        if not any(fits(kind) for fits in _IDS):
            raise PointInTimeError(
                f"Expected text or whole numbers in {key} of the entity rows, got {kind}; convert "
                "that column to str first (pandas turns whole numbers into floats where one is "
                "missing)."
            )


_IDS = (
    pa.types.is_integer,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_dictionary,
    pa.types.is_null,
)
