"""A Feast compute engine that writes only the rows that are not online yet, in bulk.

Lake views are compared with the online state, see `lake_run`. Other file sources are read as Feast
reads them. Feast's own engine materializes every view that this one does not support.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from feast import FeatureStore, FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import make_tzaware

from feature_repo.feast_internals import column_names
from feature_repo.offline.pull import refuse_beyond_watermark
from feature_repo.offline.query import file_source, is_in_lake
from feature_repo.offline.store import PointInTimeOfflineStore
from feature_repo.online.format.guarded_store import GuardedStore
from feature_repo.online.materialize.changed_rows import Columns
from feature_repo.online.materialize.lake_run import LakeRun
from feature_repo.online.materialize.prefetch import prefetched

log = logging.getLogger(__name__)

RowProgress = Callable[[str, int, int], Any]
"""Receives a view's name, the rows done, and all rows of the run."""

_UNSUPPORTED = ("aggregations", "feature_transformation", "source_views", "enable_validation")
"""Attributes of views that Feast's own engine must materialize."""
_DEFAULT_BATCH = 10_000
"""Rows of a batch if materialization.online_write_batch_size is not set."""


class IncrementalComputeEngineConfig(LocalComputeEngineConfig):
    """Settings of Feast's local engine, for the views that it materializes."""

    type: Literal["feature_repo.materialization.IncrementalComputeEngine"] = (
        "feature_repo.materialization.IncrementalComputeEngine"  # type: ignore[assignment]  # Feast finds the engine by it
    )


class IncrementalComputeEngine(LocalComputeEngine):
    """Feast's local engine, which materializes to our online stores in bulk and by changed keys.

    ``written`` has the number of rows that the last materialization of each view changed.
    ``row_progress``, if set, receives the progress of a view in place of Feast's progress bar.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.written: dict[str, int] = {}
        self.row_progress: RowProgress | None = None

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view, store = task.feature_view, self.online_store
        if not isinstance(store, GuardedStore) or not self._supports(task):
            return super()._materialize_one(registry, task, **kwargs)
        job = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            in_lake = is_in_lake(view.batch_source)
            materialize = self._materialize_lake if in_lake else self._materialize_files
            self.written[view.name] = materialize(store, registry, task)
        except Exception as error:
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error)
        log.info("%s: %d rows changed online", view.name, self.written[view.name])
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)

    def _supports(self, task: MaterializationTask) -> bool:
        """True if the task writes only the newest rows of files, without a transformation."""
        view = task.feature_view
        return (
            isinstance(self.offline_store, PointInTimeOfflineStore)
            and type(view) is FeatureView
            and isinstance(view.batch_source, FileSource)
            and DUMMY_ENTITY_NAME not in view.entities
            and (view.online and not view.offline and task.only_latest)
            and not any(getattr(view, name, None) for name in _UNSUPPORTED)
        )

    @property
    def _batch_rows(self) -> int:
        return self.repo_config.materialization_config.online_write_batch_size or _DEFAULT_BATCH

    def _materialize_files(
        self, store: GuardedStore, registry: BaseRegistry, task: MaterializationTask
    ) -> int:
        """Writes the newest row of every key in [start, end), unless a newer one is stored."""
        view, columns = task.feature_view, _columns(registry, task)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=file_source(view),
            join_key_columns=list(columns.keys),
            feature_name_columns=list(columns.features),
            timestamp_field=next(iter(columns.instants)),
            created_timestamp_column=next(iter(list(columns.instants)[1:]), None),
            start_date=task.start_time,
            end_date=task.end_time,
        )
        table = job.to_arrow()
        table = table.rename_columns([columns.all[name] for name in table.column_names])
        written = 0
        with self._progress(task, table.num_rows) as progress:
            encode = partial(store.encode, self.repo_config, view)
            for rows in prefetched(map(encode, table.to_batches(max_chunksize=self._batch_rows))):
                written += store.write_table(self.repo_config, view, rows)
                progress(len(rows))
        return written

    def _materialize_lake(
        self, store: GuardedStore, registry: BaseRegistry, task: MaterializationTask
    ) -> int:
        """Writes the rows of a lake view that are not online yet, and the mark of the new state."""
        view = task.feature_view
        refuse_beyond_watermark(self.repo_config, file_source(view), task.end_time)
        run = LakeRun(
            self.repo_config,
            store,
            view,
            _columns(registry, task),
            self._batch_rows,
            partial(self._progress, task),
        )
        return run.materialize(make_tzaware(task.end_time))

    @contextmanager
    def _progress(self, task: MaterializationTask, rows: int) -> Iterator[Callable[[int], Any]]:
        """Yields a function that takes the number of further rows written."""
        if self.row_progress:
            yield _running_total(partial(self.row_progress, task.feature_view.name), rows)
        elif task.tqdm_builder and rows:
            with task.tqdm_builder(rows) as bar:
                yield bar.update
        else:
            yield lambda done: None


def rows_written(store: FeatureStore, view: str) -> int | None:
    """Returns the rows that a view's last materialization changed; None for another engine."""
    engine = _engine_of(store)
    return engine.written.get(view) if engine else None


def report_row_progress(store: FeatureStore, row_progress: RowProgress) -> None:
    """Makes our engine report its progress to a function; does nothing for another engine."""
    engine = _engine_of(store)
    if engine:
        engine.row_progress = row_progress


def _engine_of(store: FeatureStore) -> IncrementalComputeEngine | None:
    engine = getattr(store.provider, "batch_engine", None)
    return engine if isinstance(engine, IncrementalComputeEngine) else None


def _running_total(report: Callable[[int, int], Any], rows: int) -> Callable[[int], None]:
    """Returns a function that takes further rows and reports the sum of them, and all rows."""
    done = 0

    def more(some: int) -> None:
        nonlocal done
        done += some
        report(done, rows)

    return more


def _columns(registry: BaseRegistry, task: MaterializationTask) -> Columns:
    view, source = task.feature_view, file_source(task.feature_view)
    entities = [registry.get_entity(name, task.project) for name in view.entities]
    keys, features, event, created = column_names(view, entities)
    renamed = source.field_mapping or {}
    # The stores look for the instants under the source's names for them.
    instants = {event: source.timestamp_field}
    instants |= {created: source.created_timestamp_column} if created else {}
    by_key, by_feature = (
        {name: renamed.get(name, name) for name in part} for part in (keys, features)
    )
    return Columns(by_key, by_feature, instants)
