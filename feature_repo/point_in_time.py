"""A Feast offline store whose join reads features as of an instant, exactly and without loss.

Every entity row comes back once and in order, with what happened and was learned strictly before
its timestamp. The join is DuckDB's as-of join: its cost grows with the sizes of both tables, not
with entity rows times snapshots. A source ``lake://<view>`` is resolved to what the lake
publishes, in one state for a whole query; other file sources are read as Feast would.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _write_data_source,
)
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig

from feature_repo.as_of_join import PointInTimeError, join, plan_of
from feature_repo.lake import connect
from feature_repo.reading import in_lake, pull, refuse_the_future


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


class PointInTimeOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with an exact as-of join, over the lake or any file source."""

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """A logical lake view needs no file at ``apply``; everything else is Feast's to check."""
        if not in_lake(data_source):
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
            plan_of(view, feature_refs, full_feature_names, entities.columns)
            for view in feature_views
        ]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return PointInTimeJob(
            lambda: join(config, entities, time, plans),
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
        # What was learned late changes rows before the last materialization, so the newest row of
        # every entity is written again; the start counts only for what is not in the lake.
        start = None if in_lake(data_source) else start_date
        return _pulling(config, data_source, columns, timestamp_field, start, end_date, one)

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
        return _pulling(config, data_source, columns, timestamp_field, start_date, end_date, "")


def _entity_table(entity_df: pd.DataFrame | str | None) -> pd.DataFrame:
    if isinstance(entity_df, str):
        return connect().sql(entity_df).to_arrow_table().to_pandas()
    if entity_df is None:
        raise PointInTimeError(
            "Expected a data frame or SQL with the entity keys and an event_timestamp, got none."
        )
    return entity_df.copy()


def _pulling(
    config: RepoConfig, source: DataSource, columns, timestamp_field, start, end, qualify
) -> PointInTimeJob:
    """A job that pulls a source's rows; an end beyond the watermark is refused at once."""
    refuse_the_future(config, source, end)
    return PointInTimeJob(
        lambda: pull(config, source, columns, timestamp_field, start, end, qualify),
        str(config.repo_path),
    )
