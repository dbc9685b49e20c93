"""Pulls a source's rows: the newest of each entity, or all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.offline.errors import BeyondWatermark
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.query import Query, instant_of, is_in_lake, learned_of, newest_of_ties
from feature_repo.publication.queries import ASSEMBLED


def pull(
    config: RepoConfig,
    source: FileSource,
    columns: Sequence[str],
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
    keys: Sequence[str],
    newest: bool,
) -> pa.Table:
    """Returns the rows of a source in ``[start, end)``, or the ``newest`` of each key, by key.

    The table is in one chunk, because Feast's engine writes only the first chunk.
    """
    with Query.open(config, [source]) as query:
        where = f" WHERE {_within(query, source, timestamp_field, start, end)}"
        happened = f'{instant_of(timestamp_field)} AS "{timestamp_field}"'
        rows = f"SELECT * REPLACE ({happened}) FROM {query.rows(source)}{where}"
        name = query.view_name(source)
        if newest:
            rows = _newest(query, source, rows, timestamp_field, keys, columns)
        if name in ASSEMBLED:
            requested = f'SELECT user_id, epoch_us(event_timestamp) AS "at" FROM ({rows})'
            rows = f"SELECT * FROM {query.assemble(name, requested, 'pulled')}"
        selected = ", ".join(f'"{column}"' for column in dict.fromkeys(columns))
        if not keys:
            selected += f", '{DUMMY_ENTITY_VAL}' AS \"{DUMMY_ENTITY_ID}\""
        # Online stores write neighboring keys faster, SQLite above all.
        order = ", ".join(f'"{key}"' for key in keys)
        sql = f"SELECT {selected} FROM ({rows}){f' ORDER BY {order}' if order else ''}"
        return query.connection.sql(sql).to_arrow_table().combine_chunks()


def _newest(
    query: Query,
    source: FileSource,
    rows: str,
    timestamp_field: str,
    keys: Sequence[str],
    columns: Sequence[str],
) -> str:
    """Returns SQL for the newest of ``rows`` of each key, found by keys and instants alone."""
    instants = [timestamp_field, *filter(None, [source.created_timestamp_column])]
    narrow = ", ".join(f'"{name}"' for name in (*keys, *instants))
    by = ", ".join(f'"{key}"' for key in keys)
    order = [instant_of(timestamp_field)]
    order += [learned_of(source)] if source.created_timestamp_column else []
    query.connection.execute(
        f"CREATE TEMP TABLE newest AS SELECT {narrow} FROM ({rows}) QUALIFY row_number() OVER "
        f"({f'PARTITION BY {by} ' if keys else ''}ORDER BY {' DESC, '.join(order)} DESC) = 1"
    )
    same = " AND ".join(f'f."{n}" IS NOT DISTINCT FROM m."{n}"' for n in (*keys, *instants))
    found = f"SELECT f.* FROM ({rows}) f JOIN newest m ON {same}"
    ties = f"SELECT 1 FROM ({found}) HAVING count(*) > (SELECT count(*) FROM newest)"
    if not query.has_rows(ties):
        return found
    values = [name for name in columns if name not in (*keys, *instants)]
    return found + newest_of_ties(", ".join(f'f."{k}"' for k in keys) or "1", source, values)


def _within(
    query: Query,
    source: FileSource,
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
) -> str:
    """Returns a SQL condition for ``[start, end)``; Feast's contract includes the end.

    Without an end, rows of the lake end at its watermark.
    """
    if is_in_lake(source) and end is None:
        end = lake_state(query.config)[1].watermark
    since = _visible_since(query, source, timestamp_field)
    bounds = [(">=", start), ("<" if query.strict else "<=", end)]
    limits = [
        f"{since} {sign} TIMESTAMPTZ '{_aware(at).isoformat()}'"
        for sign, at in bounds
        if at is not None
    ]
    return " AND ".join(limits) or "true"


def _visible_since(query: Query, source: FileSource, timestamp_field: str) -> str:
    """Returns SQL for the first instant at which a row is read; it decides the row's span."""
    happened = instant_of(timestamp_field)
    learned = source.created_timestamp_column
    if is_in_lake(source) or not learned or not query.respect_created:
        return happened
    return f"greatest({happened}, {instant_of(learned)})"


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def refuse_beyond_watermark(config: RepoConfig, source: FileSource, end: datetime | None) -> None:
    """Raises BeyondWatermark for an end after the lake's watermark: its rows are incomplete."""
    if end is None or not is_in_lake(source):
        return
    watermark = lake_state(config)[1].watermark
    if _aware(end) > watermark:
        raise BeyondWatermark(
            f"The lake is complete up to {watermark.isoformat()}, so features cannot be "
            f"materialized up to {_aware(end).isoformat()}; use an end no later than that."
        )
