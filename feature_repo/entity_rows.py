"""The entity rows of a query: a data frame or SQL, read with their instants in UTC microseconds."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from feature_repo.reading import PointInTimeError, told


@dataclass(frozen=True)
class EntityRows:
    """Rows to answer, one each: ``table`` holds a frame's rows, else ``sql`` gives them.

    ``columns`` come back as they came; ``time`` is the one that holds the instants.
    """

    columns: tuple[str, ...]
    time: str
    table: pa.Table | None = None
    sql: str = ""

    def land(self, connection: Any, strict: bool) -> int:
        """Make ``entities`` on a connection: the columns, ``_row`` from 0 and ``_at``; their count.

        A ``_at`` between two microseconds is moved so that it sees the same rows.
        Raises PointInTimeError if a row has no instant.
        """
        if self.table is None:
            moment = f'CAST("{self.time}" AS TIMESTAMPTZ)'
            connection.execute(
                f"CREATE TEMP TABLE entities AS SELECT *, row_number() OVER () - 1 AS _row, "
                f"{moment} AS _at FROM ({self.sql})"
            )
            [(count,)] = connection.execute("SELECT count(*) FROM entities").fetchall()
        else:
            count = self.table.num_rows
            rows = self.table.append_column("_row", pa.array(range(count), pa.int64()))
            connection.register("entities", rows.append_column("_at", self._instants(strict)))
        self._refuse_null(connection)
        return count

    def part(self, connection: Any, start: int, end: int) -> pa.Table:
        """The rows from ``start`` up to ``end`` in their order, with the columns they came with."""
        if self.table is not None:
            return self._with_instants().slice(start, end - start)
        return connection.sql(
            f"SELECT * EXCLUDE (_row, _at) FROM entities WHERE _row >= {start} AND _row < {end} "
            "ORDER BY _row"
        ).to_arrow_table()

    def span(self, connection: Any) -> tuple[datetime | None, datetime | None]:
        """The earliest and the latest instant, UTC."""
        if self.table is not None:
            connection.register("spanned", pa.table({"at": self._instants(strict=False)}))
            source, column = "spanned", '"at"'
        else:
            source, column = f"({self.sql})", f'CAST("{self.time}" AS TIMESTAMPTZ)'
        [ends] = connection.execute(f"SELECT min({column}), max({column}) FROM {source}").fetchall()
        return ends

    def _with_instants(self) -> pa.Table:
        """The rows, whose instants are instants even where they came as text, as in Feast."""
        if pa.types.is_timestamp(self.table.schema.field(self.time).type):
            return self.table
        place = self.columns.index(self.time)
        return self.table.set_column(place, self.time, self._instants(strict=False))

    def _instants(self, strict: bool) -> pa.Array:
        column = self.table[self.time]
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        try:
            moments = pd.to_datetime(
                column.to_pandas(), utc=True, format="ISO8601" if text else None
            )
        except (ValueError, TypeError) as error:
            raise PointInTimeError(
                f"Expected instants in the column {self.time} of the entity rows, got {error}."
            ) from error
        if moments.dt.unit == "ns":
            moments = moments.dt.ceil("us") if strict else moments.dt.floor("us")
        return pa.array(moments.astype("datetime64[us, UTC]"), pa.timestamp("us", "UTC"))

    def _refuse_null(self, connection: Any) -> None:
        [(found,)] = connection.execute(
            "SELECT min(_row) FROM entities WHERE _at IS NULL"
        ).fetchall()
        if found is not None:
            raise PointInTimeError(
                f"Expected an instant in {self.time} of every entity row, but row {found} (from 0) "
                "has none; give it one or leave the row out."
            )


def entity_rows(entity_df: pd.DataFrame | str | None, connection: Any) -> EntityRows:
    """The entity rows of a data frame, or of a SQL query that DuckDB answers.

    Raises PointInTimeError if there are none, or if the columns cannot be read.
    """
    if entity_df is None:
        raise PointInTimeError(
            "Expected a data frame or SQL with the entity keys and an event_timestamp, got none."
        )
    if isinstance(entity_df, str):
        with told("The SQL for the entity rows"):
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
