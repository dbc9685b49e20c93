"""The as-of join: each entity row once and in order, with the features known before its instant.

DuckDB's as-of join first matches keys and instants alone, which are small. Then the features of
the matched rows are fetched. Both run on one block of entity rows at a time, so that the memory
needed depends neither on the number of entity rows nor on the width of the features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.instants import MICROSECOND
from feature_repo.offline.entity_rows import EntityRows, refuse_unfit_ids
from feature_repo.offline.errors import duckdb_errors
from feature_repo.offline.join_plan import Plan
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.query import Query, is_in_lake
from feature_repo.offline.reorder import positions_of, reordered
from feature_repo.offline.source_table import SourceTable, columns_of
from feature_repo.publication.queries import ASSEMBLED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger(__name__)

ASSEMBLED_BYTES = 32_768
"""Bytes assumed for one row of an assembled view when the size of a block is set."""


def join(
    query: Query,
    entities: DuckDBPyConnection,
    rows: EntityRows,
    plans: Sequence[Plan],
    progress: Callable[[float], object] = lambda rows: None,
    block_rows: int | None = None,
) -> Iterator[pa.Table]:
    """Yields the entity rows in their order with the features of every plan, block by block.

    ``entities`` is a separate connection that runs the SQL for entity rows. ``progress`` receives
    the rows done since its last call, a fraction of the block at each step. ``block_rows`` limits
    the rows of a block; by default they fill a quarter of the memory.
    """
    keys = list(dict.fromkeys(key for plan in plans for key in plan.keys))
    matches = [_prepare(query, plan, f"f{n}", keys) for n, plan in enumerate(plans)]
    lake_plans = [plan for plan in plans if is_in_lake(plan.source)]
    lake_keys = sorted({key for plan in lake_plans for key in plan.keys})
    watermark = lake_state(query.config)[1].watermark if lake_plans else None
    done = beyond = 0
    for block in rows.blocks(entities, block_rows or _rows_per_block(query, plans)):
        refuse_unfit_ids(block.schema, lake_keys)
        rows.register(query.connection, block, keys, done, query.strict)
        done, beyond = done + block.num_rows, beyond + _count_after(query, watermark)
        for match in matches:
            with duckdb_errors(f"The source of {match.plan.name} by {', '.join(match.plan.keys)}"):
                _match(query, match)
                progress(block.num_rows / len(matches) / 2)
                for name, column in _features(query, match, block.num_rows):
                    block = block.append_column(name, column)
            progress(block.num_rows / len(matches) / 2)
        yield block
    if beyond:
        log.warning(
            "%d entity rows lie after the instant up to which the lake is complete: events that "
            "the lake does not have yet are missing from their features.",
            beyond,
        )


def _count_after(query: Query, watermark: datetime | None) -> int:
    """Counts the entity rows of the block that lie after the lake's watermark."""
    if watermark is None:
        return 0
    [(count,)] = query.connection.execute(
        f"SELECT count(*) FROM entities WHERE _at > TIMESTAMPTZ '{watermark.isoformat()}'"
    ).fetchall()
    return count


@dataclass(frozen=True)
class Match:
    """A plan and its tables; ``narrow`` is a relation with keys and instants of the source rows.

    ``entity_keys`` are the plan's join keys among the columns of ``entities``.

    Tables for a block of entity rows: ``ids_<alias>`` numbers their keys (``_id``).
    ``matched_<alias>`` has the source row that each ``_row`` sees. ``found_<alias>`` has each of
    those source rows once, with a ``_place``. A source row is named by ``_id`` and ``instants``:
    two instants if ``late``, that is if any row was learned after it happened.
    """

    plan: Plan
    alias: str
    entity_keys: tuple[str, ...]
    source: SourceTable
    late: bool
    narrow: str

    @property
    def instants(self) -> str:
        """Columns of the instants that name a source row."""
        return "_event, _learned" if self.late else "_event"


def _prepare(query: Query, plan: Plan, alias: str, keys: Sequence[str]) -> Match:
    entity_keys = tuple(f"e{keys.index(key)}" for key in plan.keys)
    with duckdb_errors(f"The source of {plan.name}"):
        source = query.table(plan.source, plan.happened, plan.created, alias)
        late = _has_late_rows(query, plan, source)
        narrow = _narrow(plan, source, late)
        if late:
            # Finding the rows that can be visible sorts all of them, so do it once.
            query.connection.execute(f"CREATE TEMP TABLE narrow_{alias} AS {narrow}")
            narrow = f"SELECT * FROM narrow_{alias}"
        return Match(plan, alias, entity_keys, source, late, narrow)


def _match(query: Query, match: Match) -> None:
    _number_keys(query, match)
    plan, alias = match.plan, match.alias
    entity_keys = [f"e.{key} = i.{key}" for key in match.entity_keys] or ["true"]
    source_keys = [f"i.k{number} = f.k{number}" for number in range(len(plan.keys))] or ["true"]
    conditions = f"e._id = f._id AND e._at {'>' if query.strict else '>='} f._from"
    fresh = ""
    if plan.ttl:
        ttl = plan.ttl // MICROSECOND
        fresh = f" WHERE f._event >= e._at - INTERVAL '{ttl} microseconds'"
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE matched_{alias} AS SELECT e._row, e._id, {match.instants} "
        f"FROM (SELECT e._row, e._at, i._id FROM entities e JOIN ids_{alias} i "
        f"ON {' AND '.join(entity_keys)}) e "
        f"ASOF JOIN (SELECT f.*, i._id FROM ({match.narrow}) f JOIN ids_{alias} i "
        f"ON {' AND '.join(source_keys)}) f ON {conditions}{fresh}"
    )
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE found_{alias} AS "
        "SELECT *, row_number() OVER () - 1 AS _place "
        f"FROM (SELECT DISTINCT _id, {match.instants} FROM matched_{alias})"
    )


def _number_keys(query: Query, match: Match) -> None:
    """Assigns a number to each key of the block, since numbers sort in half the time of texts.

    The join by these numbers leaves out source rows of other entities.
    """
    names = match.entity_keys
    kind = "CAST({} AS VARCHAR)" if is_in_lake(match.plan.source) else "{}"
    keys = [f"{kind.format(name)} AS k{number}" for number, name in enumerate(names)]
    distinct = f"(SELECT DISTINCT {', '.join(names)} FROM entities)" if names else "(SELECT 1)"
    columns = ", ".join(["row_number() OVER () AS _id", *names, *keys])
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ids_{match.alias} AS SELECT {columns} FROM {distinct}"
    )


def _has_late_rows(query: Query, plan: Plan, source: SourceTable) -> bool:
    """True if a row was learned after it happened, and the query respects that."""
    if is_in_lake(plan.source) or not plan.created or not query.respect_created:
        return False
    return query.has_rows(
        f"SELECT 1 FROM {source.relation} f WHERE {source.learned} > {source.event}"
    )


def _narrow(plan: Plan, source: SourceTable, late: bool) -> str:
    """Returns SQL for keys and instants of a source: ``_event``, ``_from``, ``_learned`` if late.

    A row is visible from ``_from`` on.
    """
    event, learned = source.event, source.learned
    columns = [f"{source.column(key)} AS k{n}" for n, key in enumerate(plan.keys.values())]
    columns.append(f"{event} AS _event")
    if not late:
        return f"SELECT {', '.join(columns)}, {event} AS _from FROM {source.relation} f"
    columns += [f"{learned} AS _learned", f"greatest({event}, {learned}) AS _from"]
    return _visible(f"SELECT {', '.join(columns)} FROM {source.relation} f", len(plan.keys))


def _visible(rows: str, keys: int) -> str:
    """Drops rows that no instant can see: those learned after a newer row was visible.

    Each dropped row has an older row of its key that is visible in its place.
    """
    by = ", ".join(f"k{number}" for number in range(keys))
    partition, one = (f"PARTITION BY {by} ", f"{by}, ") if keys else ("", "")
    return (
        f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY {one}_from "
        "ORDER BY _event DESC, _learned DESC) = 1 AND _event >= coalesce(max(_event) "
        f"OVER ({partition}ORDER BY _from ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), "
        "_event)"
    )


def _features(query: Query, match: Match, count: int) -> Iterator[tuple[str, pa.Array]]:
    """Yields names and columns of the features of the block's ``count`` rows, in their order."""
    fetched = _fetch(query, match)
    sources = positions_of(fetched.column(0))
    if fetched.num_rows > len(sources):
        # Several rows of a key share one instant: keep one of them.
        ties = match.source.newest_of_ties("m._place", match.plan.columns)
        fetched = _fetch(query, match, ties)
        sources = positions_of(fetched.column(0))
    columns = fetched.columns[1:]
    del fetched
    positions = _positions(query, match, sources, count)
    yield from zip(match.plan.features, reordered(columns, positions, query.threads), strict=True)


def _positions(query: Query, match: Match, sources: np.ndarray, count: int) -> np.ndarray:
    """Returns the position in ``sources`` that each of the ``count`` entity rows sees; else -1."""
    seen = query.connection.sql(
        f"SELECT _row, _place FROM matched_{match.alias} JOIN found_{match.alias} "
        f"USING (_id, {match.instants})"
    ).to_arrow_table()
    positions = np.full(count, -1, dtype=np.int64)
    positions[seen.column(0).to_numpy()] = sources[seen.column(1).to_numpy()]
    return positions


def _fetch(query: Query, match: Match, ties: str = "") -> pa.Table:
    """Fetches ``_place`` and the features of the matched source rows, in no order."""
    plan, source = match.plan, match.source
    found = f"(SELECT * FROM found_{match.alias} JOIN ids_{match.alias} USING (_id))"
    name = query.view_name(plan.source)
    if name in ASSEMBLED:
        requested = f'SELECT k0 AS user_id, epoch_us(_event) AS "at" FROM {found}'
        assembled = query.assemble(name, requested, match.alias)
        columns = columns_of(query.connection, assembled)
        source = replace(source, relation=assembled, columns=columns)
    features = "".join(f", {source.column(column)}" for column in plan.features.values())
    conditions = [f"{source.column(key)} = m.k{n}" for n, key in enumerate(plan.keys.values())]
    conditions.append(f"{source.event} = m._event")
    if match.late:
        conditions.append(f"{source.learned} = m._learned")
    return query.connection.sql(
        f"SELECT m._place{features} FROM {source.relation} f JOIN {found} m "
        f"ON {' AND '.join(conditions)}{ties}"
    ).to_arrow_table()


def _rows_per_block(query: Query, plans: Sequence[Plan]) -> int:
    """Returns the number of entity rows in a block, which fill a quarter of the memory.

    The block has at most 2 GB, the limit of Arrow's lists and texts.
    """
    width = sum(
        ASSEMBLED_BYTES
        if query.view_name(plan.source) in ASSEMBLED
        else query.bytes_per_row(plan.source, plan.features.values())
        for plan in plans
    )
    return max(1, int(min(query.memory // 4, 2**31) / max(width, 1)))
