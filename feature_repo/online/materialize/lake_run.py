"""Runs that materialize a lake view: they write the keys whose newest row changed.

For each lake view the online store has a progress mark: the state of the lake and the instant of
its rows. A later run compares with it and writes in the order of the keys, so that a killed run
resumes where it stopped.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from feast import FeatureView
from feast.repo_config import RepoConfig

from feature_repo.lake.reader import Lake
from feature_repo.offline.lake_session import lake_state
from feature_repo.offline.query import Query, file_source
from feature_repo.online.format.guarded_store import GuardedStore
from feature_repo.online.format.progress_mark import (
    ProgressMark,
    TargetCheck,
    next_run,
    superseded,
)
from feature_repo.online.format.rows import OnlineRows, keys_of_table
from feature_repo.online.materialize.changed_rows import (
    Changed,
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

Progress = Callable[[int], AbstractContextManager[Callable[[int], Any]]]
"""Takes the rows of a run; its context is a function that takes the number of further rows."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class LakeRun:
    """Materialization of one lake view to a store, ``batch_rows`` at a time."""

    config: RepoConfig
    store: GuardedStore
    view: FeatureView
    columns: Columns
    batch_rows: int
    progress: Progress

    def materialize(self, until: datetime) -> int:
        """Writes the rows before ``until`` that are not online yet; returns the rows changed.

        Raises MaterializationRefused if other runs took over, or if the online store has a later
        version of the lake that does not reach that instant.
        """
        for _ in range(_ATTEMPTS):
            written = self._try_run(until)
            if written is not None:
                return written
        raise superseded(self.view.name)

    def _try_run(self, until: datetime) -> int | None:
        """Runs once; returns None if another run changed the mark before this one could begin."""
        config, view, source = self.config, self.view, file_source(self.view)
        lake, state = lake_state(config)
        target = target_of(config, lake, state.number, until, self.columns, _kinds(view))
        stored = self.store.read_mark(config, view)
        mark = next_run(stored, target, uuid.uuid4().hex, *_checks(lake))
        if mark is None:
            log.info("%s: the online store has this state already", view.name)
            return 0
        with Query.open(config, [source]) as query:
            staged = stage(query, lake, source, self.columns, target, mark.base)
            if not self.store.begin_run(config, view, mark, stored):
                return None
            with self.progress(staged) as report:
                written, mark = self._write_batches(query, mark, report)
            keep = self._staged_keys(query) if mark.base is None else None
        done = replace(mark, finished=True, cursor=None)
        return written + self.store.finish_run(config, view, done, keep)

    def _write_batches(
        self, query: Query, mark: ProgressMark, report: Callable[[int], Any]
    ) -> tuple[int, ProgressMark]:
        """Writes batch after batch, each with the mark of its last key; returns rows and mark."""
        written, parts = 0, batches(query, self.columns, mark.cursor, self.batch_rows)
        for last, rows, removed in prefetched(map(self._encode, parts)):
            mark = replace(mark, cursor=last)
            written += self.store.write_table(self.config, self.view, rows, removed, mark)
            report(len(rows) + len(removed))
        return written, mark

    def _encode(self, batch: Changed) -> tuple[tuple[Any, ...], OnlineRows, Sequence[bytes]]:
        """Returns a batch's last key, its rows in stored form, and the entity keys to remove."""
        return (
            batch.last,
            self.store.encode(self.config, self.view, batch.present),
            keys_of_table(self.config, self.view, batch.removed) if batch.removed.num_rows else (),
        )

    def _staged_keys(self, query: Query) -> set[bytes]:
        """Returns the entity keys of all staged rows."""
        return {
            key
            for batch in staged_keys(query, self.columns, self.batch_rows)
            for key in keys_of_table(self.config, self.view, batch)
        }


def _kinds(view: FeatureView) -> list[Any]:
    return [field.dtype for field in (*view.entity_columns, *view.features)]


def _checks(lake: Lake) -> tuple[TargetCheck, TargetCheck]:
    """Returns two checks of a target: its state is in this lake, and its change rows exist."""
    return (
        lambda target: digest_of(lake, target.version) == target.digest,
        lambda target: published_folder(lake, target.version).is_dir(),
    )
