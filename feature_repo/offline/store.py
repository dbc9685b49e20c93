"""A Feast offline store whose join reads features as of an instant, exactly and without loss.

Every entity row comes back once and in order, with what happened and was learned strictly before
its timestamp. The join is DuckDB's as-of join: its cost grows with the sizes of both tables, not
with entity rows times snapshots. A source ``lake://<view>`` is resolved to what the lake
publishes, in one state for a whole query; other file sources are read as Feast would.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import FeatureView
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
from pydantic import field_validator

from feature_repo.offline.as_of_join import Plan, join, plan_of
from feature_repo.offline.entity_rows import EntityRows, entity_rows
from feature_repo.offline.errors import PointInTimeError
from feature_repo.offline.lake_session import connected
from feature_repo.offline.pull import pull, refuse_the_future
from feature_repo.offline.query import Query, in_lake
from feature_repo.offline.spill import bytes_of

log = logging.getLogger(__name__)


class PointInTimeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """``home`` is Clipwise's state folder, ``lake_version`` a pinned state (default: current).

    ``strict`` reads what lies strictly before the entity timestamp (Feast: at or before it);
    ``respect_created`` leaves out what was learned later (Feast: only if a query asks for it).
    ``memory_limit`` is what the process may take, a result in memory aside; ``threads`` are
    DuckDB's, by default one a core. ``progress`` shows in a terminal how far a long query is.
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
    def _is_a_size(cls, value: str) -> str:
        bytes_of(value)
        return value


class PointInTimeJob(RetrievalJob):
    """A query that runs when its result is asked for; ``parts`` gives the result piece by piece."""

    def __init__(
        self,
        parts: Callable[[], Iterator[pa.Table]],
        repo_path: str,
        on_demand: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
        metadata: Callable[[], RetrievalMetadata] | None = None,
    ):
        super().__init__()
        self._parts = parts
        self._repo_path = repo_path
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return pa.concat_tables(list(self._parts()))

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata and self._metadata()

    def to_parquet(self, path: str | Path) -> None:
        """Write the result to a new Parquet file, a part at a time, so that it need not fit memory.

        Raises PointInTimeError if there is something at the path.
        """
        target = Path(path)
        if target.exists():
            raise PointInTimeError(f"There is something at {target} already; name another file.")
        self._write(target)

    def persist(self, storage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to a saved data set's storage, as Feast's DuckDB store does."""
        source = storage.to_data_source()
        target = Path(FileSource.get_uri_for_file_path(self._repo_path, source.path))
        single = target.suffix == ".parquet" and not target.is_dir()
        if not single or not isinstance(source.file_format, ParquetFormat | None):
            import ibis

            table = ibis.memtable(self.to_arrow())
            _write_data_source(table, source, self._repo_path, "overwrite", allow_overwrite)
            return
        if target.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=source.path)
        self._write(target)

    def _write(self, target: Path) -> None:
        """The file appears when it is whole."""
        from pyarrow.parquet import ParquetWriter

        draft = target.with_name(f".{target.name}.draft")
        # Features that are computed on demand are of the whole result.
        parts = iter([self.to_arrow()]) if self._on_demand else self._parts()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            first = next(parts)
            with ParquetWriter(
                draft, first.schema, compression="zstd", use_dictionary=_repeating(first.schema)
            ) as writer:
                writer.write_table(first)
                del first
                for part in parts:
                    writer.write_table(part)
                    # Else it would be there while the next one is made.
                    del part
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)


def _repeating(schema: pa.Schema) -> list[str]:
    """Columns that may repeat values: to look for it among floats takes longer than to write."""
    return [field.name for field in schema if not _floats(field.type)]


def _floats(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or (pa.types.is_list(kind) and _floats(kind.value_type))


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
        respect_created = kwargs.get("filter_by_created_timestamp") or None
        rows = entity_rows(entity_df, connected(config, sql=isinstance(entity_df, str)))
        plans = [plan_of(view, feature_refs, full_feature_names, rows) for view in feature_views]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return PointInTimeJob(
            lambda: _answered(config, rows, plans, respect_created),
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
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        # What was learned late changes rows before the last materialization, so the newest row of
        # every entity counts; the start does only for what is not in the lake.
        start = None if in_lake(data_source) else start_date
        return _pulling(
            config, data_source, columns, timestamp_field, start, end_date, join_key_columns, True
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
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        return _pulling(
            config,
            data_source,
            columns,
            timestamp_field,
            start_date,
            end_date,
            join_key_columns,
            newest=False,
        )


def _answered(
    config: RepoConfig, rows: EntityRows, plans: Sequence[Plan], respect_created: bool | None
) -> Iterator[pa.Table]:
    """The result, part by part; how far it has come is shown in a terminal if that takes long."""
    from tqdm import tqdm

    # None: nothing is drawn where nobody looks at a terminal.
    hidden = None if config.offline_store.progress else True
    bar = tqdm(total=rows.count, unit=" rows", unit_scale=True, delay=2, disable=hidden)

    sources = [plan.source for plan in plans]
    with bar, Query.open(config, sources, respect_created) as query:
        entities = connected(config, sql=bool(rows.sql))
        entities.execute(f"SET memory_limit = '{query.memory // 6}B'")
        yield from join(query, entities, rows, plans, bar.update)


def _metadata(config: RepoConfig, feature_refs: list[str], rows: EntityRows) -> RetrievalMetadata:
    earliest, latest = rows.span(connected(config, sql=bool(rows.sql)))
    return RetrievalMetadata(
        features=feature_refs,
        keys=[name for name in rows.columns if name != rows.time],
        min_event_timestamp=earliest,
        max_event_timestamp=latest,
    )


def _pulling(
    config: RepoConfig, source: DataSource, columns, timestamp_field, start, end, keys, newest: bool
) -> PointInTimeJob:
    """A job that pulls a source's rows; an end beyond the watermark is refused at once."""
    refuse_the_future(config, source, end)
    return PointInTimeJob(
        lambda: iter([pull(config, source, columns, timestamp_field, start, end, keys, newest)]),
        str(config.repo_path),
    )
