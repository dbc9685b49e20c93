"""A Feast offline store with an exact point-in-time join.

Each entity row comes back once and in order, with the rows that happened and were learned strictly
before its timestamp. The join is DuckDB's as-of join: its cost grows with the sizes of both
tables, not with entity rows times snapshots. A source ``lake://<view>`` is resolved to the lake's
published views, in one state for a whole query. Other file sources are read as Feast reads them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, cast

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from pydantic import field_validator

from feature_repo.offline.as_of_join import join
from feature_repo.offline.entity_rows import EntityRows, entity_rows
from feature_repo.offline.join_plan import Plan, plan_of
from feature_repo.offline.lake_session import open_session
from feature_repo.offline.pull import pull, refuse_beyond_watermark
from feature_repo.offline.query import Query, is_in_lake
from feature_repo.offline.retrieval_job import PointInTimeJob
from feature_repo.offline.spill import parse_size


class PointInTimeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Settings of the offline store.

    ``home`` is Clipwise's state folder, ``lake_version`` a pinned state (default: the current one).
    ``strict`` reads rows strictly before the entity timestamp (Feast: at or before it).
    ``respect_created`` leaves out rows learned later (Feast: only if a query requests it).
    ``memory_limit`` is the limit of the process, without a result in memory. ``threads`` are
    DuckDB's (default: one a core). ``progress`` shows the progress of a long query in a terminal.
    """

    type: Literal["feature_repo.point_in_time.PointInTimeOfflineStore"] = (
        "feature_repo.point_in_time.PointInTimeOfflineStore"
    )
    home: str | None = None
    lake_version: int | None = None
    strict: bool = True
    respect_created: bool = True
    memory_limit: str = "4GB"
    threads: int | None = None
    progress: bool = True

    @field_validator("memory_limit")
    @classmethod
    def _check_size(cls, value: str) -> str:
        parse_size(value)
        return value


class PointInTimeOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with an exact as-of join, over the lake or any file source."""

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Checks a source as Feast does; a view of the lake needs no file at ``apply``."""
        if not is_in_lake(data_source):
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
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Plans the join of the views' features to the entity rows; the job runs it.

        Raises PointInTimeError for entity rows or columns that cannot be joined.
        """
        session = open_session(config, sql=isinstance(entity_df, str))
        rows = entity_rows(entity_df, session)
        plans = [plan_of(view, feature_refs, full_feature_names, rows) for view in feature_views]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return PointInTimeJob(
            lambda: _joined_parts(config, rows, plans, filter_by_created_timestamp or None),
            str(config.repo_path),
            on_demand,
            full_feature_names,
            lambda: _metadata(config, feature_refs, rows),
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
        """Pulls the newest row of every key before the end. Raises BeyondWatermark for a late end.

        The start counts only for a source outside the lake.
        """
        # In the lake, rows learned late change rows from before the last materialization.
        start = None if is_in_lake(data_source) else start_date
        return _pull_job(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start,
            end_date,
            newest=True,
        )

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
        """Pulls all rows in ``[start, end)``. Raises BeyondWatermark for a late end."""
        return _pull_job(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date,
            end_date,
            newest=False,
        )


def _joined_parts(
    config: RepoConfig, rows: EntityRows, plans: Sequence[Plan], respect_created: bool | None
) -> Iterator[pa.Table]:
    """Yields the result part by part; a long query shows its progress in a terminal."""
    from tqdm import tqdm

    # None: tqdm draws only if the output is a terminal.
    hidden = None if config.offline_store.progress else True
    bar = tqdm(total=rows.count, unit=" rows", unit_scale=True, delay=2, disable=hidden)

    sources = [plan.source for plan in plans]
    with bar, Query.open(config, sources, respect_created) as query:
        entities = open_session(config, sql=bool(rows.sql))
        entities.execute(f"SET memory_limit = '{query.memory // 6}B'")
        yield from join(query, entities, rows, plans, bar.update)


def _metadata(config: RepoConfig, feature_refs: list[str], rows: EntityRows) -> RetrievalMetadata:
    earliest, latest = rows.span(open_session(config, sql=bool(rows.sql)))
    return RetrievalMetadata(
        features=feature_refs,
        keys=[name for name in rows.columns if name != rows.time],
        min_event_timestamp=earliest,
        max_event_timestamp=latest,
    )


def _pull_job(
    config: RepoConfig,
    data_source: DataSource,
    keys: Sequence[str],
    features: Sequence[str],
    happened: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
    newest: bool,
) -> PointInTimeJob:
    """Returns a job that pulls a source's rows; refuses an end after the watermark at once."""
    source = cast(FileSource, data_source)
    refuse_beyond_watermark(config, source, end)
    return PointInTimeJob(
        lambda: iter([pull(config, source, keys, features, happened, created, start, end, newest)]),
        str(config.repo_path),
    )
