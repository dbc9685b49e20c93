"""The as-of join: every entity row once and in order, with what was known strictly before it.

First only keys and instants are joined, which is small, by DuckDB's as-of join; then the features
of the rows that were found are fetched. Both are done for a block of entity rows at a time, so that
the memory needed depends on neither their number nor the width of the features.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.entity_rows import EntityRows
from feature_repo.publication import ASSEMBLED
from feature_repo.reading import (
    PointInTimeError,
    Query,
    in_lake,
    instant_of,
    lake_state,
    learned_of,
    newest_of_ties,
    told,
)

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
    done = beyond = 0
    for block in rows.blocks(entities, _rows_at_once(query, plans)):
        rows.land(query.connection, block, done, query.strict)
        done, beyond = done + block.num_rows, beyond + _beyond_the_watermark(query, plans)
        for match in matches:
            with told(f"The source of {match.plan.name} by {', '.join(match.plan.keys)}"):
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


def _beyond_the_watermark(query: Query, plans: Sequence[Plan]) -> int:
    if not any(in_lake(plan.source) for plan in plans):
        return 0
    watermark = lake_state(query.config)[1].watermark
    [(count,)] = query.connection.execute(
        f"SELECT count(*) FROM entities WHERE _at > TIMESTAMPTZ '{watermark.isoformat()}'"
    ).fetchall()
    return count


@dataclass(frozen=True)
class Match:
    """A plan and what is asked of it: ``narrow`` is a relation with keys and instants of its rows.

    ``matched_<alias>`` has, for each entity row of a block that sees a row, ``_row``, the found
    row's keys and instants; these are two if ``late``: some row was learned after it happened.
    """

    plan: Plan
    alias: str
    late: bool
    narrow: str


def _prepared(query: Query, plan: Plan, alias: str) -> Match:
    with told(f"The source of {plan.name}"):
        late = _learned_late(query, plan.source)
        narrow = _narrow(query, plan, late)
        if late:
            # Which rows are ever read takes a sort of all of them, so that is done once.
            query.connection.execute(f"CREATE TEMP TABLE narrow_{alias} AS {narrow}")
            narrow = f"SELECT * FROM narrow_{alias}"
        return Match(plan, alias, late, narrow)


def _match(query: Query, match: Match) -> None:
    plan = match.plan
    conditions = [
        f'CAST(e."{entity}" AS VARCHAR) = f.k{number}'
        if in_lake(plan.source)
        else f'e."{entity}" = f.k{number}'
        for number, entity in enumerate(plan.keys)
    ]
    conditions.append(f"e._at {'>' if query.strict else '>='} f._from")
    fresh = f" WHERE f._event >= e._at - INTERVAL '{_microseconds(plan.ttl)} microseconds'"
    query.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE matched_{match.alias} AS "
        "SELECT e._row, f.* EXCLUDE (_from) FROM entities e "
        f"ASOF JOIN ({match.narrow}) f ON {' AND '.join(conditions)}{fresh if plan.ttl else ''}"
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


def _features(query: Query, match: Match, count: int) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The features of the block's ``count`` entity rows, in their order."""
    found = _fetched(query, match)
    places = _places(found, count)
    if np.count_nonzero(places >= 0) < found.num_rows:
        # Several rows have one instant: of those, the newest in all respects.
        plan = match.plan
        found = _fetched(query, match, newest_of_ties("m._row", plan.source, plan.columns))
        places = _places(found, count)
    taken = pa.array(np.maximum(places, 0), mask=places < 0)
    # One by one, so that no second copy of all columns is ever there.
    columns = found.columns[1:]
    del found
    for name in match.plan.features:
        yield name, columns.pop(0).combine_chunks().take(taken)


def _places(found: pa.Table, count: int) -> np.ndarray:
    """Where the features of each entity row are in what was found; -1: nowhere."""
    places = np.full(count, -1, dtype=np.int64)
    places[found.column(0).to_numpy()] = np.arange(found.num_rows)
    return places


def _fetched(query: Query, match: Match, ties: str = "") -> pa.Table:
    """``_row`` and the features of the rows that were found, in no order."""
    plan, matched = match.plan, f"matched_{match.alias}"
    name = query.view(plan.source)
    if name in ASSEMBLED:
        wanted = f'SELECT DISTINCT k0 AS user_id, epoch_us(_event) AS "at" FROM {matched}'
        source = query.assembled(name, wanted, match.alias)
    else:
        source = query.rows(plan.source)
    columns = "".join(f', f."{column}"' for column in plan.features.values())
    conditions = [f'f."{column}" = m.k{n}' for n, column in enumerate(plan.keys.values())]
    conditions.append(f"{instant_of(plan.source.timestamp_field, 'f')} = m._event")
    if match.late:
        conditions.append(f"{learned_of(plan.source, 'f')} = m._learned")
    return query.connection.sql(
        f"SELECT m._row{columns} FROM {source} f JOIN {matched} m "
        f"ON {' AND '.join(conditions)}{ties}"
    ).to_arrow_table()


def _rows_at_once(query: Query, plans: Sequence[Plan]) -> int:
    """How many entity rows are answered at once: as many as fill a sixth of the memory."""
    width = sum(
        ASSEMBLED_BYTES
        if query.view(plan.source) in ASSEMBLED
        else query.bytes_a_row(plan.source, plan.features.values())
        for plan in plans
    )
    return max(1, int(query.memory // 6 / max(width, 1)))
