"""A Feast offline store whose join reads features as of an instant, exactly and without loss.

Every entity row comes back once and in order, with what happened and was learned strictly before
its timestamp. The join is DuckDB's as-of join: its cost grows with the sizes of both tables, not
with entity rows times snapshots. A source ``lake://<view>`` is resolved to what the lake
publishes, in one state for a whole query; other file sources are read as Feast would.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _write_data_source,
)
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig

from feature_repo.home import resolve_home
from feature_repo.lake import Lake, LakeError, connect, parquet
from feature_repo.publication import ASSEMBLED, published
from feature_repo.views import LAKE


class PointInTimeError(Exception):
    """A query cannot be answered as of an instant; the message says what to do."""


class PointInTimeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """``home`` is Clipwise's state folder, ``lake_version`` a pinned state (default: current).

    ``strict`` reads what lies strictly before the entity timestamp (Feast: at or before it);
    ``respect_created`` leaves out what was learned later (Feast: does not look at it).
    """

    type: Literal["feature_repo.point_in_time.PointInTimeOfflineStore"] = (
        "feature_repo.point_in_time.PointInTimeOfflineStore"
    )
    home: str | None = None
    lake_version: int | None = None
    strict: bool = True
    respect_created: bool = True
    memory_limit: str = "2GB"
    threads: int | None = None


class PointInTimeJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        repo_path: str,
        on_demand: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ):
        super().__init__()
        self._run = run
        self._repo_path = repo_path
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._run().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(self, storage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to a saved data set's storage, as Feast's DuckDB store does."""
        import ibis

        _write_data_source(
            ibis.memtable(self._run()),
            storage.to_data_source(),
            self._repo_path,
            "overwrite",
            allow_overwrite,
        )


@dataclass(frozen=True)
class Query:
    """One retrieval: a connection, and one state of the lake for all that it reads."""

    connection: Any
    config: RepoConfig

    @property
    def settings(self) -> PointInTimeOfflineStoreConfig:
        return self.config.offline_store

    @classmethod
    def open(cls, config: RepoConfig) -> "Query":
        connection = connect()
        settings = config.offline_store
        connection.execute(f"SET memory_limit = '{settings.memory_limit}'")
        if settings.threads:
            connection.execute(f"SET threads = {settings.threads}")
        return cls(connection, config)

    def published(self, folder: Path | None, source: FileSource) -> str:
        """A DuckDB relation with the change rows of a source."""
        if folder is not None and source.path.startswith(LAKE):
            return parquet([str(folder / f"{source.path.removeprefix(LAKE)}.parquet")])
        uri = FileSource.get_uri_for_file_path(self.config.repo_path, source.path)
        if isinstance(source.file_format, DeltaFormat):
            from deltalake import DeltaTable

            return parquet(DeltaTable(uri).file_uris())
        return "read_parquet('" + uri.replace("'", "''") + "')"


def lake_state(config: RepoConfig):
    """The lake that a Feast repository is configured for, and the state that its queries read."""
    settings = config.offline_store
    lake = Lake(resolve_home(settings.home, Path(config.repo_path)))
    return lake, lake.state(settings.lake_version)


def _folder(config: RepoConfig, sources: Sequence[DataSource]) -> Path | None:
    """Where the lake's published rows are, if any of the sources is in the lake."""
    if not any(source.path.startswith(LAKE) for source in sources):
        return None
    return published(*lake_state(config))


class PointInTimeOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with an exact as-of join, over the lake or any file source."""

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """A logical lake view needs no file at ``apply``; everything else is Feast's to check."""
        if not (isinstance(data_source, FileSource) and data_source.path.startswith(LAKE)):
            super().validate_data_source(config, data_source)

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        entities = _entity_table(entity_df)
        time = offline_utils.infer_event_timestamp_from_entity_df(
            dict(zip(entities.columns, entities.dtypes, strict=True))
        )
        entities[time] = pd.to_datetime(entities[time], utc=True).astype("datetime64[us, UTC]")
        plans = [
            _plan(view, feature_refs, full_feature_names, entities.columns)
            for view in feature_views
        ]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return PointInTimeJob(
            lambda: _join(config, entities, time, plans),
            str(config.repo_path),
            on_demand,
            full_feature_names,
            RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entities.columns if name != time],
                min_event_timestamp=entities[time].min(),
                max_event_timestamp=entities[time].max(),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
        **kwargs: Any,
    ) -> RetrievalJob:
        newest = [f'"{timestamp_field}" DESC']
        if created_timestamp_column:
            newest.append(f'"{created_timestamp_column}" DESC')
        keys = ", ".join(f'"{key}"' for key in join_key_columns)
        one = f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {', '.join(newest)}) = 1"
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        return _pull(config, data_source, columns, timestamp_field, start_date, end_date, one)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        **kwargs: Any,
    ) -> RetrievalJob:
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        return _pull(config, data_source, columns, timestamp_field, start_date, end_date, "")


def _entity_table(entity_df: pd.DataFrame | str | None) -> pd.DataFrame:
    if isinstance(entity_df, str):
        return connect().sql(entity_df).to_arrow_table().to_pandas()
    if entity_df is None:
        raise PointInTimeError(
            "Expected a data frame or SQL with the entity keys and an event_timestamp, got none."
        )
    return entity_df.copy()


@dataclass(frozen=True)
class Plan:
    """What is joined of one view: source, join keys (entity column to source column), features."""

    name: str
    source: FileSource
    keys: dict[str, str]
    features: dict[str, str]
    ttl: timedelta | None


def _plan(
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


def _join(config: RepoConfig, entities: pd.DataFrame, time: str, plans: Sequence[Plan]) -> pa.Table:
    """The entity rows in their order with the features of every plan."""
    query = Query.open(config)
    folder = _folder(config, [plan.source for plan in plans])
    rows = pa.Table.from_pandas(entities, preserve_index=False)
    query.connection.register("entities", rows.append_column("_row", _numbers(rows.num_rows)))
    joins, columns = [], [f'e."{name}"' for name in entities.columns]
    for position, plan in enumerate(plans):
        alias = f"f{position}"
        joins.append(_as_of(query, folder, plan, alias, time))
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


def _as_of(query: Query, folder: Path | None, plan: Plan, alias: str, time: str) -> str:
    """The as-of join of the entity rows with one view."""
    keys = " AND ".join(
        f'CAST(e."{entity}" AS VARCHAR) = CAST({alias}."{column}" AS VARCHAR)'
        if plan.source.path.startswith(LAKE)
        else f'e."{entity}" = {alias}."{column}"'
        for entity, column in plan.keys.items()
    )
    before = ">" if query.settings.strict else ">="
    name = plan.source.path.removeprefix(LAKE)
    if folder is not None and name in ASSEMBLED and plan.source.path.startswith(LAKE):
        wanted = _wanted(query, folder, plan, name, time, before)
        relation = _assembled(query, folder, name, wanted, alias)
    else:
        relation = f"({_visible(query, query.published(folder, plan.source), plan)})"
    return f'ASOF LEFT JOIN {relation} {alias} ON {keys} AND e."{time}" {before} {alias}._from'


def _visible(query: Query, relation: str, plan: Plan) -> str:
    """The rows of a source with ``_from``, since when each is the one to read, and ``_event``."""
    event = f'CAST("{plan.source.timestamp_field}" AS TIMESTAMPTZ)'
    created = plan.source.created_timestamp_column
    if plan.source.path.startswith(LAKE) or not created:
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


def _wanted(query: Query, folder: Path, plan: Plan, name: str, time: str, before: str) -> str:
    """The rows of an assembled view that the entity rows read: key and instant, once each."""
    rows = parquet([str(folder / f"{name}.parquet")])
    entity, column = next(iter(plan.keys.items()))
    return (
        f'SELECT DISTINCT f."{column}", epoch_us(f.event_timestamp) AS "at" FROM entities e '
        f'ASOF JOIN {rows} f ON CAST(e."{entity}" AS VARCHAR) = f."{column}" '
        f'AND e."{time}" {before} f.event_timestamp'
    )


def _assembled(query: Query, folder: Path, name: str, wanted: str, alias: str) -> str:
    """A temporary table with the wanted rows of an assembled view; its name."""
    import ibis

    from feature_repo.publication import compiled
    from feature_repo.transforms.history import assembled

    connection = query.connection
    entries = parquet([str(folder / f"{name}.entries.parquet")])
    connection.execute(f"CREATE TEMP TABLE wanted_{alias} AS {wanted}")
    connection.execute(f"CREATE TEMP VIEW entries_{alias} AS SELECT * FROM {entries}")
    backend = ibis.duckdb.from_connection(connection)
    rows = assembled(
        backend.table(f"wanted_{alias}"), backend.table(f"entries_{alias}"), ASSEMBLED[name]
    )
    connection.execute(
        f'CREATE TEMP TABLE assembled_{alias} AS SELECT * EXCLUDE ("at"), '
        'make_timestamptz("at") AS event_timestamp, make_timestamptz("at") AS created_timestamp, '
        f'make_timestamptz("at") AS _from, make_timestamptz("at") AS _event FROM ({compiled(rows)})'
    )
    return f"assembled_{alias}"


def _pull(
    config: RepoConfig,
    source: DataSource,
    columns: Sequence[str],
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
    qualify: str,
) -> PointInTimeJob:
    """The rows of a source in ``[start, end)``, of which ``qualify`` keeps some."""
    _refuse_the_future(config, source, end)

    def run() -> pa.Table:
        query = Query.open(config)
        folder = _folder(config, [source])
        since = _known_since(query, source, timestamp_field)
        bounds = [(">=", start), ("<", end)]
        where = " AND ".join(
            f"{since} {sign} TIMESTAMPTZ '{_aware(at).isoformat()}'"
            for sign, at in bounds
            if at is not None
        )
        # Cast, because Parquet that pandas wrote has nanoseconds, which DuckDB does not compare.
        happened = f'CAST("{timestamp_field}" AS TIMESTAMPTZ) AS "{timestamp_field}"'
        rows = (
            f"SELECT * REPLACE ({happened}) FROM {query.published(folder, source)} "
            f"WHERE {where or 'true'}{qualify}"
        )
        name = source.path.removeprefix(LAKE)
        if folder is not None and name in ASSEMBLED:
            wanted = f'SELECT user_id, epoch_us(event_timestamp) AS "at" FROM ({rows})'
            rows = f"SELECT * FROM {_assembled(query, folder, name, wanted, 'pulled')}"
        picked = ", ".join(f'"{column}"' for column in dict.fromkeys(columns))
        # In the order of their keys, because SQLite writes neighbors faster, and in one piece,
        # because Feast's engine writes the first piece of a table alone.
        sql = f'SELECT {picked} FROM ({rows}) ORDER BY "{columns[0]}"'
        return query.connection.sql(sql).to_arrow_table().combine_chunks()

    return PointInTimeJob(run, str(config.repo_path))


def _known_since(query: Query, source: DataSource, timestamp_field: str) -> str:
    """When a row of a source is first read, which decides to which span it belongs."""
    happened = f'CAST("{timestamp_field}" AS TIMESTAMPTZ)'
    learned = source.created_timestamp_column
    if source.path.startswith(LAKE) or not learned or not query.settings.respect_created:
        return happened
    return f'greatest({happened}, CAST("{learned}" AS TIMESTAMPTZ))'


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _refuse_the_future(config: RepoConfig, source: DataSource, end: datetime | None) -> None:
    """Raises LakeError for an end beyond the lake's watermark: what lies there is not known yet."""
    if end is None or not source.path.startswith(LAKE):
        return
    watermark = lake_state(config)[1].watermark
    if _aware(end) > watermark:
        raise LakeError(
            f"The lake is complete up to {watermark.isoformat()}, so features cannot be "
            f"materialized up to {_aware(end).isoformat()}; use an end no later than that."
        )
