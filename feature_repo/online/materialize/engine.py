"""A Feast compute engine that brings only online what is not there yet, in bulk.

A lake view has a mark in the online store: the state of the lake and the instant that its rows
are of. A later run compares with it and writes the keys whose newest row is another one, in the
order of the keys, so that a run that was killed goes on where it stopped. Any other file source is
read as Feast does. What this engine does not know, Feast's own does.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import _get_column_names, make_tzaware

from feature_repo.lake.reader import Lake
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.pull import refuse_the_future
from feature_repo.offline.query import Query, in_lake
from feature_repo.offline.store import PointInTimeOfflineStore
from feature_repo.online.format.progress_mark import Check, Mark, next_run, taken_over
from feature_repo.online.format.rows import keys_of_table
from feature_repo.online.materialize.changed_rows import (
    GONE,
    Columns,
    batches,
    digest_of,
    published_folder,
    stage,
    staged_keys,
    target_of,
)
from feature_repo.online.materialize.prefetch import ahead
from feature_repo.online.redis.store import GuardedRedisOnlineStore
from feature_repo.online.sqlite.store import GuardedSqliteOnlineStore

log = logging.getLogger(__name__)

Listener = Callable[[str, int, int], Any]

_LEFT_TO_FEAST = ("aggregations", "feature_transformation", "source_views", "enable_validation")
_ATTEMPTS = 3
_BATCH = 10_000
"""Rows at a time, where materialization.online_write_batch_size says nothing."""


class IncrementalComputeEngineConfig(LocalComputeEngineConfig):
    """Feast's local engine's settings, for the views that are left to it."""

    type: Literal["feature_repo.materialization.IncrementalComputeEngine"] = (
        "feature_repo.materialization.IncrementalComputeEngine"
    )


class IncrementalComputeEngine(LocalComputeEngine):
    """Feast's local engine, which materializes to our online stores in bulk and by changed keys.

    ``written`` has the number of rows that the last materialization of each view changed.
    ``listener`` hears of a view's rows, done and in all, in place of the bar that Feast draws.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.written: dict[str, int] = {}
        self.listener: Listener | None = None

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        if not self._takes(task):
            return super()._materialize_one(registry, task, **kwargs)
        job = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            bring = self._bring_lake if in_lake(view.batch_source) else self._bring_files
            self.written[view.name] = bring(registry, task)
        except Exception as error:
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error)
        log.info("%s: %d rows changed online", view.name, self.written[view.name])
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)

    def _takes(self, task: MaterializationTask) -> bool:
        """Whether nothing but the newest rows of files goes to a store of ours."""
        view = task.feature_view
        return (
            isinstance(self.online_store, (GuardedSqliteOnlineStore, GuardedRedisOnlineStore))
            and isinstance(self.offline_store, PointInTimeOfflineStore)
            and type(view) is FeatureView
            and isinstance(view.batch_source, FileSource)
            and DUMMY_ENTITY_NAME not in view.entities
            and (view.online and not view.offline and task.only_latest)
            and not any(getattr(view, name, None) for name in _LEFT_TO_FEAST)
        )

    @property
    def _batch(self) -> int:
        return self.repo_config.materialization_config.online_write_batch_size or _BATCH

    def _bring_files(self, registry: BaseRegistry, task: MaterializationTask) -> int:
        """Write the newest row of every key in [start, end) where none that is newer is held."""
        view, columns = task.feature_view, _columns(registry, task)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=view.batch_source,
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
            encode = partial(self.online_store.encoded, self.repo_config, view)
            for rows in ahead(map(encode, table.to_batches(max_chunksize=self._batch))):
                written += self.online_store.write_table(self.repo_config, view, rows)
                progress(len(rows))
        return written

    def _bring_lake(self, registry: BaseRegistry, task: MaterializationTask) -> int:
        """Write the rows of a lake view that are not online yet, and mark what then is."""
        refuse_the_future(self.repo_config, task.feature_view.batch_source, task.end_time)
        columns = _columns(registry, task)
        for _ in range(_ATTEMPTS):
            written = self._attempt(task, columns)
            if written is not None:
                return written
        raise taken_over(task.feature_view.name)

    def _attempt(self, task: MaterializationTask, columns: Columns) -> int | None:
        """One run; None if another one ended or moved on while this one read what is to do."""
        config, view, source = self.repo_config, task.feature_view, task.feature_view.batch_source
        lake, state = lake_state(config)
        until = make_tzaware(task.end_time)
        target = target_of(config, lake, state.number, until, columns, _kinds(view))
        held = self.online_store.read_mark(config, view)
        mark = next_run(held, target, uuid.uuid4().hex, *_checks(lake))
        if mark is None:
            log.info("%s: the online store is as far already", view.name)
            return 0
        with Query.open(config, [source]) as query:
            staged = stage(query, lake, source, columns, target, mark.base)
            if not self.online_store.take(config, view, mark, held):
                return None
            with self._progress(task, staged) as progress:
                written, mark = self._write(query, view, columns, mark, progress)
            keep = self._keys(query, view, columns) if mark.base is None else None
        done = replace(mark, finished=True, cursor=None)
        return written + self.online_store.finish(config, view, done, keep)

    def _write(self, query: Query, view, columns: Columns, mark: Mark, progress):
        """Write batch after batch, each with the mark that it is written."""
        written, parts = 0, batches(query, columns, mark.cursor, self._batch)
        for last, rows, gone in ahead(self._encoded(part, view, columns) for part in parts):
            mark = replace(mark, cursor=last)
            written += self.online_store.write_table(self.repo_config, view, rows, gone, mark)
            progress(len(rows) + len(gone))
        return written, mark

    def _encoded(self, batch: pa.RecordBatch, view: FeatureView, columns: Columns):
        """A batch's last key, its rows as they are stored, and the entity keys that are gone."""
        gone = batch.filter(batch.column(GONE))
        there = batch.filter(pc.invert(batch.column(GONE)))
        return (
            _last_key(batch, columns),
            self.online_store.encoded(self.repo_config, view, there),
            keys_of_table(self.repo_config, view, gone) if gone.num_rows else (),
        )

    def _keys(self, query: Query, view: FeatureView, columns: Columns) -> set[bytes]:
        """The entity keys of all rows that were staged."""
        return {
            key
            for batch in staged_keys(query, columns, self._batch)
            for key in keys_of_table(self.repo_config, view, batch)
        }

    @contextmanager
    def _progress(self, task: MaterializationTask, rows: int) -> Iterator[Callable[[int], Any]]:
        """What to call with the number of rows that were written."""
        if self.listener:
            yield _adding(partial(self.listener, task.feature_view.name), rows)
        elif task.tqdm_builder and rows:
            with task.tqdm_builder(rows) as bar:
                yield bar.update
        else:
            yield lambda done: None


def rows_written(store: Any, view: str) -> int | None:
    """How many rows the last materialization of a view changed online, if the engine is ours."""
    engine = store._get_provider().batch_engine
    return engine.written.get(view) if isinstance(engine, IncrementalComputeEngine) else None


def tell_rows(store: Any, listener: Listener) -> None:
    """Have our engine tell a listener of the rows that it writes: view, done and in all."""
    engine = store._get_provider().batch_engine
    if isinstance(engine, IncrementalComputeEngine):
        engine.listener = listener


def _adding(tell: Callable[[int, int], Any], rows: int) -> Callable[[int], None]:
    """Tells how many of the rows are done, given how many more are."""
    done = 0

    def more(some: int) -> None:
        nonlocal done
        done += some
        tell(done, rows)

    return more


def _columns(registry: BaseRegistry, task: MaterializationTask) -> Columns:
    view = task.feature_view
    entities = [registry.get_entity(name, task.project) for name in view.entities]
    keys, features, event, created = _get_column_names(view, entities)
    called = view.batch_source.field_mapping or {}
    parts = (keys, features, [event, *([created] if created else [])])
    return Columns(*({name: called.get(name, name) for name in part} for part in parts))


def _kinds(view: FeatureView) -> list:
    return [field.dtype for field in (*view.entity_columns, *view.features)]


def _checks(lake: Lake) -> tuple[Check, Check]:
    """Whether a target's state is one of this lake, and whether its change rows are there."""
    return (
        lambda target: digest_of(lake, target.version) == target.digest,
        lambda target: published_folder(lake, target.version).is_dir(),
    )


def _last_key(batch: pa.RecordBatch, columns: Columns) -> tuple:
    row = batch.slice(batch.num_rows - 1).select(list(columns.keys.values())).to_pylist()[0]
    return tuple(row.values())
