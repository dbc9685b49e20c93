"""The as-of join: every entity row once and in order, with what was known strictly before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.lake import parquet
from feature_repo.publication import ASSEMBLED
from feature_repo.reading import Query, in_lake


class PointInTimeError(Exception):
    """A query cannot be answered as of an instant; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """What is joined of one view: source, join keys (entity column to source column), features."""

    name: str
    source: FileSource
    keys: dict[str, str]
    features: dict[str, str]
    ttl: timedelta | None


def plan_of(
    view: FeatureView, feature_refs: list[str], full_feature_names: bool, columns: Sequence[str]
) -> Plan:
    reference = view.projection.name_to_use()
    shown = view.projection.name_alias or view.name
    wanted = [ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{reference}:")]
    renamed = {new: old for old, new in view.batch_source.field_mapping.items()}
    aliases = view.projection.join_key_map or {}
    keys = {aliases.get(c.name, c.name): renamed.get(c.name, c.name) for c in view.entity_columns}
    missing = [key for key in keys if key not in columns]
    if missing:
        raise PointInTimeError(
            f"The view {reference} joins by {', '.join(keys)}, but the entity rows have "
            f"{', '.join(columns)}. Add {', '.join(missing)}."
        )
    features = {
        f"{shown}__{one}" if full_feature_names else one: renamed.get(one, one) for one in wanted
    }
    return Plan(reference, view.batch_source, keys, features, view.ttl)


def join(config: RepoConfig, entities: pd.DataFrame, time: str, plans: Sequence[Plan]) -> pa.Table:
    """The entity rows in their order with the features of every plan."""
    query = Query.open(config, [plan.source for plan in plans])
    rows = pa.Table.from_pandas(entities, preserve_index=False)
    query.connection.register("entities", rows.append_column("_row", _numbers(rows.num_rows)))
    joins, columns = [], [f'e."{name}"' for name in entities.columns]
    for position, plan in enumerate(plans):
        alias = f"f{position}"
        joins.append(_as_of(query, plan, alias, time))
        columns += [_feature(plan, alias, new, old, time) for new, old in plan.features.items()]
    sql = f"SELECT {', '.join(columns)} FROM entities e {' '.join(joins)} ORDER BY e._row"
    return query.connection.sql(sql).to_arrow_table()


def _numbers(count: int) -> pa.Array:
    return pa.array(range(count), pa.int64())


def _feature(plan: Plan, alias: str, new: str, old: str, time: str) -> str:
    """A feature's value, null if the row that was found is older than the view's ttl."""
    value = f'{alias}."{old}"'
    if plan.ttl:
        age = f"e.\"{time}\" - INTERVAL '{int(plan.ttl.total_seconds() * 1e6)} microseconds'"
        value = f"CASE WHEN {alias}._event >= {age} THEN {value} END"
    return f'{value} AS "{new}"'


def _as_of(query: Query, plan: Plan, alias: str, time: str) -> str:
    """The as-of join of the entity rows with one view."""
    keys = " AND ".join(
        f'CAST(e."{entity}" AS VARCHAR) = CAST({alias}."{column}" AS VARCHAR)'
        if in_lake(plan.source)
        else f'e."{entity}" = {alias}."{column}"'
        for entity, column in plan.keys.items()
    )
    before = ">" if query.settings.strict else ">="
    name = query.view(plan.source)
    if name in ASSEMBLED:
        relation = query.assembled(name, _wanted(query, plan, name, time, before), alias)
    else:
        relation = f"({_visible(query, query.rows(plan.source), plan)})"
    return f'ASOF LEFT JOIN {relation} {alias} ON {keys} AND e."{time}" {before} {alias}._from'


def _visible(query: Query, relation: str, plan: Plan) -> str:
    """The rows of a source with ``_from``, since when each is the one to read, and ``_event``."""
    event = f'CAST("{plan.source.timestamp_field}" AS TIMESTAMPTZ)'
    created = plan.source.created_timestamp_column
    if in_lake(plan.source) or not created:
        return f"SELECT *, {event} AS _from, {event} AS _event FROM {relation}"
    learned = f'CAST("{created}" AS TIMESTAMPTZ)'
    start = f"greatest({event}, {learned})" if query.settings.respect_created else event
    keys = ", ".join(f'"{column}"' for column in plan.keys.values())
    # A row learned late is read from then on, and only if nothing newer was visible before it.
    return (
        f"SELECT * FROM (SELECT *, {start} AS _from, {event} AS _event, {learned} AS _learned "
        f"FROM {relation}) QUALIFY row_number() OVER (PARTITION BY {keys}, _from "
        "ORDER BY _event DESC, _learned DESC) = 1 AND _event >= coalesce(max(_event) OVER "
        f"(PARTITION BY {keys} ORDER BY _from ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), "
        "_event)"
    )


def _wanted(query: Query, plan: Plan, name: str, time: str, before: str) -> str:
    """The rows of an assembled view that the entity rows read: key and instant, once each."""
    rows = parquet([str(query.folder / f"{name}.parquet")])
    entity, column = next(iter(plan.keys.items()))
    return (
        f'SELECT DISTINCT f."{column}", epoch_us(f.event_timestamp) AS "at" FROM entities e '
        f'ASOF JOIN {rows} f ON CAST(e."{entity}" AS VARCHAR) = f."{column}" '
        f'AND e."{time}" {before} f.event_timestamp'
    )
