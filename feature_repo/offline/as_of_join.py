"""The as-of join: every entity row once and in order, with what was known strictly before it.

First only keys and instants are joined, which is small, by DuckDB's as-of join; then the features
of the rows that were found are fetched. Both are done for a block of entity rows at a time, so that
the memory needed depends on neither their number nor the width of the features.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.offline.entity_rows import EntityRows, refuse_other_ids
from feature_repo.offline.errors import PointInTimeError, duckdb_errors
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.query import Query, in_lake, instant_of, learned_of, newest_of_ties
from feature_repo.offline.reorder import in_order, places_of
from feature_repo.publication.queries import ASSEMBLED

log = logging.getLogger(__name__)

ASSEMBLED_BYTES = 32_768
"""What one row of an assembled view may take, for the size of a part."""


@dataclass(frozen=True)
class Plan:
    """What is joined of one view: source, join keys (entity column to source column), features.

    ``features`` maps the names that come back to columns; ``columns`` are all of the view's, which
    decide between rows of one instant.
    """

    name: str
    source: FileSource
    keys: dict[str, str]
    features: dict[str, str]
    columns: tuple[str, ...]
    ttl: timedelta | None


def plan_of(
    view: FeatureView, feature_refs: list[str], full_feature_names: bool, rows: EntityRows
) -> Plan:
    """Raises PointInTimeError if the entity rows lack a join key or already have a feature."""
    reference = view.projection.name_to_use()
    shown = view.projection.name_alias or view.name
    wanted = [ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{reference}:")]
    renamed = {new: old for old, new in view.batch_source.field_mapping.items()}
    aliases = view.projection.join_key_map or {}
    names = [c.name for c in view.entity_columns if c.name != DUMMY_ENTITY_ID]
    keys = {aliases.get(name, name): renamed.get(name, name) for name in names}
    features = {
        f"{shown}__{one}" if full_feature_names else one: renamed.get(one, one) for one in wanted
    }
    _refuse_columns(reference, keys, features, rows.columns)
    columns = tuple(renamed.get(field.name, field.name) for field in view.features)
    return Plan(reference, view.batch_source, keys, features, columns, view.ttl)


def _refuse_columns(reference: str, keys, features, columns: Sequence[str]) -> None:
    missing = [key for key in keys if key not in columns]
    if missing:
        raise PointInTimeError(
            f"The view {reference} joins by {', '.join(keys)}, but the entity rows have "
            f"{', '.join(columns)}. Add {', '.join(missing)}."
        )
    twice = [name for name in features if name in columns]
    if twice:
        raise PointInTimeError(
            f"The entity rows already have a column {', '.join(twice)}, as the view {reference}; "
            "rename it, or ask for full_feature_names."
        )


def join(
    query: Query,
    entities: Any,
    rows: EntityRows,
    plans: Sequence[Plan],
    progress: Callable[[float], None] = lambda rows: None,
) -> Iterator[pa.Table]:
    """The entity rows in their order with the features of every plan, a block at a time.

    ``entities`` is a connection of its own on which SQL for entity rows runs. ``progress`` hears
    how many more rows are through, in fractions as steps of a block are.
    """
    matches = [_prepared(query, plan, f"f{position}") for position, plan in enumerate(plans)]
    lake_plans = [plan for plan in plans if in_lake(plan.source)]
    of_the_lake = sorted({key for plan in lake_plans for key in plan.keys})
    watermark = lake_state(query.config)[1].watermark if lake_plans else None
    done = beyond = 0
    for block in rows.blocks(entities, _rows_at_once(query, plans)):
        refuse_other_ids(block.schema, of_the_lake)
        rows.land(query.connection, block, done, query.strict)
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
            "%d entity rows lie after the instant up to which the lake is complete: what happens "
            "in between and is not known yet is missing from their features.",
            beyond,
        )


def _count_after(query: Query, watermark: datetime | None) -> int:
    """How many entity rows of the block lie after the instant up to which the lake is complete."""
    if watermark is None:
        return 0
    [(count,)] = query.connection.execute(
        f"SELECT count(*) FROM entities WHERE _at > TIMESTAMPTZ '{watermark.isoformat()}'"
    ).fetchall()
    return count


@dataclass(frozen=True)
class Match:
    """A plan and what is asked of it: ``narrow`` is a relation with keys and instants of its rows.

    For a block of entity rows ``ids_<alias>`` numbers their keys (``_id``), ``matched_<alias>``
    says which source row each ``_row`` sees, and ``found_<alias>`` has each of those once with a
    ``_place``. They name a source row by ``_id`` and its ``instants``, two if ``late``: if some
    row was learned after it happened.
    """

    plan: Plan
    alias: str
    late: bool
    narrow: str

    @property
    def instants(self) -> str:
        return "_event, _learned" if self.late else "_event"


def _prepared(query: Query, plan: Plan, alias: str) -> Match:
    with duckdb_errors(f"The source of {plan.name}"):
        late = _learned_late(query, plan.source)
        narrow = _narrow(query, plan, late)
        if late:
            # Which rows are ever read takes a sort of all of them, so that is done once.
            query.connection.execute(f"CREATE TEMP TABLE narrow_{alias} AS {narrow}")
            narrow = f"SELECT * FROM narrow_{alias}"
        return Match(plan, alias, late, narrow)


def _match(query: Query, match: Match) -> None:
    _number_keys(query, match)
    plan, alias = match.plan, match.alias
    asked = [f'e."{entity}" = i."{entity}"' for entity in plan.keys] or ["true"]
    known = [f"i.k{number} = f.k{number}" for number in range(len(plan.keys))] or ["true"]
    conditions = f"e._id = f._id AND e._at {'>' if query.strict else '>='} f._from"
    fresh = f" WHERE f._event >= e._at - INTERVAL '{_microseconds(plan.ttl)} microseconds'"
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE matched_{alias} AS SELECT e._row, e._id, {match.instants} "
        f"FROM (SELECT e._row, e._at, i._id FROM entities e JOIN ids_{alias} i "
        f"ON {' AND '.join(asked)}) e "
        f"ASOF JOIN (SELECT f.*, i._id FROM ({match.narrow}) f JOIN ids_{alias} i "
        f"ON {' AND '.join(known)}) f ON {conditions}{fresh if plan.ttl else ''}"
    )
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE found_{alias} AS "
        "SELECT *, row_number() OVER () - 1 AS _place "
        f"FROM (SELECT DISTINCT _id, {match.instants} FROM matched_{alias})"
    )


def _number_keys(query: Query, match: Match) -> None:
    """Numbers sort in half the time that texts take, and rows of other entities stay out."""
    names = [f'"{entity}"' for entity in match.plan.keys]
    kind = "CAST({} AS VARCHAR)" if in_lake(match.plan.source) else "{}"
    keys = [f"{kind.format(name)} AS k{number}" for number, name in enumerate(names)]
    distinct = f"(SELECT DISTINCT {', '.join(names)} FROM entities)" if names else "(SELECT 1)"
    columns = ", ".join(["row_number() OVER () AS _id", *names, *keys])
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ids_{match.alias} AS SELECT {columns} FROM {distinct}"
    )


def _microseconds(span: timedelta | None) -> int:
    return 0 if span is None else span // timedelta(microseconds=1)


def _learned_late(query: Query, source: FileSource) -> bool:
    """Whether any row of the source was learned after it happened, and that is to be respected."""
    if in_lake(source) or not source.created_timestamp_column or not query.respect_created:
        return False
    return query.finds(
        f"SELECT 1 FROM {query.rows(source)} WHERE {instant_of(source.created_timestamp_column)} > "
        f"{instant_of(source.timestamp_field)}"
    )


def _narrow(query: Query, plan: Plan, late: bool) -> str:
    """Keys, ``_event`` (and ``_learned``) of a source, and ``_from``: since when each is read."""
    source = plan.source
    event = instant_of(source.timestamp_field)
    columns = [f'"{column}" AS k{n}' for n, column in enumerate(plan.keys.values())]
    columns.append(f"{event} AS _event")
    if not late:
        return f"SELECT {', '.join(columns)}, {event} AS _from FROM {query.rows(source)}"
    learned = learned_of(source)
    columns += [f"{learned} AS _learned", f"greatest({event}, {learned}) AS _from"]
    return _visible(f"SELECT {', '.join(columns)} FROM {query.rows(source)}", len(plan.keys))


def _visible(rows: str, keys: int) -> str:
    """The rows that are ever the one to read: one learned late only if nothing newer was visible.

    A row that falls away here leaves the older one to be read, never nothing.
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
    """The features of the block's ``count`` entity rows, in their order."""
    fetched = _fetched(query, match)
    sources = places_of(fetched.column(0))
    if fetched.num_rows > len(sources):
        # Several rows have one instant: of those, the newest in all respects.
        plan = match.plan
        fetched = _fetched(query, match, newest_of_ties("m._place", plan.source, plan.columns))
        sources = places_of(fetched.column(0))
    columns = fetched.columns[1:]
    del fetched
    places = _places(query, match, sources, count)
    yield from zip(match.plan.features, in_order(columns, places, query.threads), strict=True)


def _places(query: Query, match: Match, sources: np.ndarray, count: int) -> np.ndarray:
    """For each of the ``count`` entity rows, where in ``sources`` what it sees is; -1: nowhere."""
    seen = query.connection.sql(
        f"SELECT _row, _place FROM matched_{match.alias} JOIN found_{match.alias} "
        f"USING (_id, {match.instants})"
    ).to_arrow_table()
    places = np.full(count, -1, dtype=np.int64)
    places[seen.column(0).to_numpy()] = sources[seen.column(1).to_numpy()]
    return places


def _fetched(query: Query, match: Match, ties: str = "") -> pa.Table:
    """``_place`` and the features of the rows that were found, in no order."""
    plan = match.plan
    found = f"(SELECT * FROM found_{match.alias} JOIN ids_{match.alias} USING (_id))"
    name = query.view(plan.source)
    if name in ASSEMBLED:
        wanted = f'SELECT k0 AS user_id, epoch_us(_event) AS "at" FROM {found}'
        source = query.assembled(name, wanted, match.alias)
    else:
        source = query.rows(plan.source)
    columns = "".join(f', f."{column}"' for column in plan.features.values())
    conditions = [f'f."{column}" = m.k{n}' for n, column in enumerate(plan.keys.values())]
    conditions.append(f"{instant_of(plan.source.timestamp_field, 'f')} = m._event")
    if match.late:
        conditions.append(f"{learned_of(plan.source, 'f')} = m._learned")
    return query.connection.sql(
        f"SELECT m._place{columns} FROM {source} f JOIN {found} m "
        f"ON {' AND '.join(conditions)}{ties}"
    ).to_arrow_table()


def _rows_at_once(query: Query, plans: Sequence[Plan]) -> int:
    """How many entity rows are answered at once: as many as fill a quarter of the memory.

    Arrow's lists and texts hold 2 GB a piece.
    """
    width = sum(
        ASSEMBLED_BYTES
        if query.view(plan.source) in ASSEMBLED
        else query.bytes_a_row(plan.source, plan.features.values())
        for plan in plans
    )
    return max(1, int(min(query.memory // 4, 2**31) / max(width, 1)))
