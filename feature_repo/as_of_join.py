"""The as-of join: every entity row once and in order, with what was known strictly before it.

First only keys and instants are joined, which is small, by DuckDB's as-of join; then the features
of the rows that were found are fetched, a part of the entity rows at a time. So the memory needed
depends on neither the number of entity rows nor the width of the features.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

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
    newest_of_ties,
    told,
)

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

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
    rows: EntityRows,
    plans: Sequence[Plan],
    progress: Progress = lambda done, total: None,
) -> Iterator[pa.Table]:
    """The entity rows in their order with the features of every plan, a part at a time.

    ``progress`` hears how many passes over entity rows are through, and of how many: one a plan to
    find its rows, and one to fetch the features.
    """
    count = rows.land(query.connection, query.strict)
    _warn_of_the_unknown(query, plans)
    total = count * (len(plans) + 1)
    matches = []
    for position, plan in enumerate(plans):
        with told(f"The source of {plan.name} by {', '.join(plan.keys)}"):
            matches.append(_match(query, plan, f"f{position}"))
        progress(count * (position + 1), total)
    size = _rows_at_once(query, plans)
    for start in range(0, max(count, 1), size):
        end = min(start + size, count)
        part = rows.part(query.connection, start, end)
        for match in matches:
            with told(f"The source of {match.plan.name}"):
                for name, column in _features(query, match, start, end):
                    part = part.append_column(name, column)
        yield part
        progress(total - count + end, total)


def _warn_of_the_unknown(query: Query, plans: Sequence[Plan]) -> None:
    if not any(in_lake(plan.source) for plan in plans):
        return
    watermark = lake_state(query.config)[1].watermark
    [(count,)] = query.connection.execute(
        f"SELECT count(*) FROM entities WHERE _at > TIMESTAMPTZ '{watermark.isoformat()}'"
    ).fetchall()
    if count:
        log.warning(
            "%d entity rows lie after %s, up to which the lake is complete: what happens in "
            "between and is not known yet is missing from their features.",
            count,
            watermark.isoformat(),
        )


@dataclass(frozen=True)
class Match:
    """A plan whose rows were found: the table ``matched_<alias>`` has, for each entity row that
    sees one, ``_row``, the found row's keys and instants.

    ``late``: some row was learned after it happened, so that the instants are two.
    """

    plan: Plan
    alias: str
    late: bool

    def between(self, start: int, end: int) -> str:
        return f"(SELECT * FROM matched_{self.alias} WHERE _row >= {start} AND _row < {end})"


def _match(query: Query, plan: Plan, alias: str) -> Match:
    match = Match(plan, alias, _learned_late(query, plan.source))
    conditions = [
        f'CAST(e."{entity}" AS VARCHAR) = f.k{number}'
        if in_lake(plan.source)
        else f'e."{entity}" = f.k{number}'
        for number, entity in enumerate(plan.keys)
    ]
    conditions.append(f"e._at {'>' if query.strict else '>='} f._from")
    fresh = f" WHERE f._event >= e._at - INTERVAL '{_microseconds(plan.ttl)} microseconds'"
    query.connection.execute(
        f"CREATE TEMP TABLE matched_{alias} AS SELECT e._row, f.* EXCLUDE (_from) FROM entities e "
        f"ASOF JOIN ({_narrow(query, match)}) f ON {' AND '.join(conditions)}"
        f"{fresh if plan.ttl else ''}"
    )
    return match


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


def _narrow(query: Query, match: Match) -> str:
    """Keys, ``_event`` (and ``_learned``) of a source, and ``_from``: since when each is read."""
    source = match.plan.source
    event = instant_of(source.timestamp_field)
    columns = [f'"{column}" AS k{n}' for n, column in enumerate(match.plan.keys.values())]
    columns.append(f"{event} AS _event")
    if not match.late:
        return f"SELECT {', '.join(columns)}, {event} AS _from FROM {query.rows(source)}"
    learned = instant_of(source.created_timestamp_column)
    columns += [f"{learned} AS _learned", f"greatest({event}, {learned}) AS _from"]
    return _visible(f"SELECT {', '.join(columns)} FROM {query.rows(source)}", len(match.plan.keys))


def _visible(rows: str, keys: int) -> str:
    """The rows that are ever the one to read: one learned late only if nothing newer was visible.

    A row that falls away here leaves the older one to be read, never nothing.
    """
    by = ", ".join(f"k{number}" for number in range(keys))
    partition, one = (f"PARTITION BY {by} ", f"{by}, ") if keys else ("", "")
    return (
        f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY {one}_from "
        "ORDER BY _event DESC, _learned DESC NULLS LAST) = 1 AND _event >= coalesce(max(_event) "
        f"OVER ({partition}ORDER BY _from ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), "
        "_event)"
    )


def _features(
    query: Query, match: Match, start: int, end: int
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The features of the entity rows from ``start`` up to ``end``, in their order."""
    found = _fetched(query, match, start, end)
    places = _places(found, start, end)
    if np.count_nonzero(places >= 0) < found.num_rows:
        # Several rows have one instant: of those, the newest in all respects.
        plan = match.plan
        ties = newest_of_ties("m._row", plan.source, plan.columns)
        found = _fetched(query, match, start, end, ties)
        places = _places(found, start, end)
    taken = pa.array(np.maximum(places, 0), mask=places < 0)
    # One by one, so that no second copy of all columns is ever there.
    columns = found.columns[1:]
    del found
    for name in match.plan.features:
        yield name, columns.pop(0).combine_chunks().take(taken)


def _places(found: pa.Table, start: int, end: int) -> np.ndarray:
    """Where the features of each entity row are in what was found; -1: nowhere."""
    places = np.full(end - start, -1, dtype=np.int64)
    places[found.column(0).to_numpy() - start] = np.arange(found.num_rows)
    return places


def _fetched(query: Query, match: Match, start: int, end: int, ties: str = "") -> pa.Table:
    """``_row`` and the features of the rows that were found, in no order."""
    plan, part = match.plan, match.between(start, end)
    name = query.view(plan.source)
    if name in ASSEMBLED:
        wanted = f'SELECT DISTINCT k0 AS user_id, epoch_us(_event) AS "at" FROM {part}'
        source = query.assembled(name, wanted, match.alias)
    else:
        source = query.rows(plan.source)
    columns = "".join(f', f."{column}"' for column in plan.features.values())
    conditions = [f'f."{column}" = m.k{n}' for n, column in enumerate(plan.keys.values())]
    conditions.append(f"{instant_of(plan.source.timestamp_field, 'f')} = m._event")
    if match.late:
        learned = instant_of(plan.source.created_timestamp_column, "f")
        conditions.append(f"{learned} IS NOT DISTINCT FROM m._learned")
    return query.connection.sql(
        f"SELECT m._row{columns} FROM {source} f JOIN {part} m ON {' AND '.join(conditions)}{ties}"
    ).to_arrow_table()


def _rows_at_once(query: Query, plans: Sequence[Plan]) -> int:
    """How many entity rows are answered at once: as many as fill an eighth of the memory."""
    width = sum(
        ASSEMBLED_BYTES
        if query.view(plan.source) in ASSEMBLED
        else query.bytes_a_row(plan.source, plan.features.values())
        for plan in plans
    )
    return max(1, int(query.memory // 8 / max(width, 1)))
