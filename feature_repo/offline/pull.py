"""Pulls a source's rows: the newest of each entity, or all of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.lake.duckdb_files import literal
from feature_repo.offline.errors import BeyondWatermark
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.query import Query, is_in_lake
from feature_repo.offline.source_table import SourceTable, columns_of
from feature_repo.publication.queries import ASSEMBLED


def pull(
    config: RepoConfig,
    source: FileSource,
    keys: Sequence[str],
    features: Sequence[str],
    happened: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
    newest: bool,
) -> pa.Table:
    """Returns the rows of a source in ``[start, end)``, or the ``newest`` of each key, by key.

    ``keys``, ``features``, ``happened`` and ``created`` are columns of the source. The table is in
    one chunk, because Feast's engine writes only the first chunk.
    """
    with Query.open(config, [source]) as query:
        table = query.table(source, happened, created)
        within = _within(query, source, table, start, end)
        table = table.of(f"(SELECT f.* FROM {table.relation} f WHERE {within})")
        name = query.view_name(source)
        if newest:
            table = table.of(_newest(query, table, keys, features))
        if name in ASSEMBLED:
            user = table.column("user_id")
            requested = f'SELECT {user} AS user_id, epoch_us({table.event}) AS "at" FROM '
            assembled = query.assemble(name, f"{requested}{table.relation} f", "pulled")
            table = replace(
                table, relation=assembled, columns=columns_of(query.connection, assembled)
            )
        selected = {one: table.column(one) for one in (*keys, *features)}
        selected |= {one: table.instant(one) for one in (happened, created) if one}
        if not keys:
            selected[DUMMY_ENTITY_ID] = literal(DUMMY_ENTITY_VAL)
        # Online stores write neighboring keys faster, SQLite above all.
        order = ", ".join(map(table.column, keys))
        sql = (
            f"SELECT {', '.join(selected.values())} FROM {table.relation} f"
            f"{f' ORDER BY {order}' if order else ''}"
        )
        found = query.connection.sql(sql).to_arrow_table()
        return found.rename_columns(list(selected)).combine_chunks()


def _newest(query: Query, table: SourceTable, keys: Sequence[str], features: Sequence[str]) -> str:
    """Returns SQL for the newest row of each key, found by keys and instants alone."""
    named = {f"k{number}": table.column(key) for number, key in enumerate(keys)}
    narrow = named | {"_event": table.event, "_learned": table.learned}
    by = f"PARTITION BY {', '.join(named.values())} " if keys else ""
    query.connection.execute(
        f"CREATE TEMP TABLE newest AS SELECT {', '.join(f'{c} AS {n}' for n, c in narrow.items())} "
        f"FROM {table.relation} f QUALIFY row_number() OVER "
        f"({by}ORDER BY {table.event} DESC, {table.learned} DESC) = 1"
    )
    same = " AND ".join(f"{column} IS NOT DISTINCT FROM m.{n}" for n, column in narrow.items())
    found = f"SELECT f.* FROM {table.relation} f JOIN newest m ON {same}"
    if query.has_rows(f"SELECT 1 FROM ({found}) HAVING count(*) > (SELECT count(*) FROM newest)"):
        found += table.newest_of_ties(", ".join(named.values()) or "1", features)
    return f"({found})"


def _within(
    query: Query,
    source: FileSource,
    table: SourceTable,
    start: datetime | None,
    end: datetime | None,
) -> str:
    """Returns a SQL condition for ``[start, end)``; Feast's contract includes the end.

    Without an end, rows of the lake end at its watermark. A row's instant is the first one at which
    it is read.
    """
    if is_in_lake(source) and end is None:
        end = lake_state(query.config)[1].watermark
    since = table.event
    if not is_in_lake(source) and query.respect_created:
        since = f"greatest({table.event}, {table.learned})"
    bounds = [(">=", start), ("<" if query.strict else "<=", end)]
    limits = [
        f"{since} {sign} TIMESTAMPTZ '{_aware(at).isoformat()}'"
        for sign, at in bounds
        if at is not None
    ]
    return " AND ".join(limits) or "true"


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
