"""A Feast compute engine that writes only the rows that are not online yet, in bulk.

For each lake view the online store has a progress mark: the state of the lake and the instant of
its rows. A later run compares with it and writes the keys whose newest row changed, in the order
of the keys, so that a killed run resumes where it stopped. Other file sources are read as Feast
reads them. Feast's own engine materializes every view that this one does not support.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import make_tzaware

from feature_repo.feast_internals import column_names
from feature_repo.lake.reader import Lake
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.pull import refuse_beyond_watermark
from feature_repo.offline.query import Query, file_source, is_in_lake
from feature_repo.offline.store import PointInTimeOfflineStore
from feature_repo.online.format.guarded_store import GuardedStore
from feature_repo.online.format.progress_mark import (
    ProgressMark,
    TargetCheck,
    next_run,
    superseded,
)
from feature_repo.online.format.rows import OnlineRows, keys_of_table
from feature_repo.online.materialize.changed_rows import (
    REMOVED,
    Columns,
    batches,
    digest_of,
    stage,
    staged_keys,
    target_of,
)
from feature_repo.online.materialize.prefetch import prefetched
from feature_repo.publication.publish import published_folder

log = logging.getLogger(__name__)

RowProgress = Callable[[str, int, int], Any]
"""Receives a view's name, the rows done, and all rows of the run."""

_UNSUPPORTED = ("aggregations", "feature_transformation", "source_views", "enable_validation")
"""Attributes of views that Feast's own engine must materialize."""
_ATTEMPTS = 3
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
        refuse_beyond_watermark(self.repo_config, file_source(task.feature_view), task.end_time)
        columns = _columns(registry, task)
        for _ in range(_ATTEMPTS):
            written = self._try_run(store, task, columns)
            if written is not None:
                return written
        raise superseded(task.feature_view.name)

    def _try_run(
        self, store: GuardedStore, task: MaterializationTask, columns: Columns
    ) -> int | None:
        """Runs once; returns None if another run changed the mark before this one could begin."""
        config, view = self.repo_config, task.feature_view
        source = file_source(view)
        lake, state = lake_state(config)
        until = make_tzaware(task.end_time)
        target = target_of(config, lake, state.number, until, columns, _kinds(view))
        stored = store.read_mark(config, view)
        mark = next_run(stored, target, uuid.uuid4().hex, *_checks(lake))
        if mark is None:
            log.info("%s: the online store has this state already", view.name)
            return 0
        with Query.open(config, [source]) as query:
            staged = stage(query, lake, source, columns, target, mark.base)
            if not store.begin_run(config, view, mark, stored):
                return None
            with self._progress(task, staged) as progress:
                written, mark = self._write_batches(store, query, view, columns, mark, progress)
            keep = self._staged_keys(query, view, columns) if mark.base is None else None
        done = replace(mark, finished=True, cursor=None)
        return written + store.finish_run(config, view, done, keep)

    def _write_batches(
        self,
        store: GuardedStore,
        query: Query,
        view: FeatureView,
        columns: Columns,
        mark: ProgressMark,
        progress: Callable[[int], Any],
    ) -> tuple[int, ProgressMark]:
        """Writes batch after batch, each with the mark of its last key; returns rows and mark."""
        written, parts = 0, batches(query, columns, mark.cursor, self._batch_rows)
        encoded = (self._encode(store, part, view, columns) for part in parts)
        for last, rows, removed in prefetched(encoded):
            mark = replace(mark, cursor=last)
            written += store.write_table(self.repo_config, view, rows, removed, mark)
            progress(len(rows) + len(removed))
        return written, mark

    def _encode(
        self, store: GuardedStore, batch: pa.RecordBatch, view: FeatureView, columns: Columns
    ) -> tuple[tuple, OnlineRows, Sequence[bytes]]:
        """Returns a batch's last key, its rows in stored form, and the entity keys to remove."""
        removed = batch.filter(batch.column(REMOVED))
        present = batch.filter(pc.invert(batch.column(REMOVED)))
        return (
            _last_key(batch, columns),
            store.encode(self.repo_config, view, present),
            keys_of_table(self.repo_config, view, removed) if removed.num_rows else (),
        )

    def _staged_keys(self, query: Query, view: FeatureView, columns: Columns) -> set[bytes]:
        """Returns the entity keys of all staged rows."""
        return {
            key
            for batch in staged_keys(query, columns, self._batch_rows)
            for key in keys_of_table(self.repo_config, view, batch)
        }

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
    view = task.feature_view
    entities = [registry.get_entity(name, task.project) for name in view.entities]
    keys, features, event, created = column_names(view, entities)
    renamed = file_source(view).field_mapping or {}
    parts = (keys, features, [event, *([created] if created else [])])
    return Columns(*({name: renamed.get(name, name) for name in part} for part in parts))


def _kinds(view: FeatureView) -> list[Any]:
    return [field.dtype for field in (*view.entity_columns, *view.features)]


def _checks(lake: Lake) -> tuple[TargetCheck, TargetCheck]:
    """Returns two checks of a target: its state is in this lake, and its change rows exist."""
    return (
        lambda target: digest_of(lake, target.version) == target.digest,
        lambda target: published_folder(lake, target.version).is_dir(),
    )


def _last_key(batch: pa.RecordBatch, columns: Columns) -> tuple:
    row = batch.slice(batch.num_rows - 1).select(list(columns.keys.values())).to_pylist()[0]
    return tuple(row.values())
