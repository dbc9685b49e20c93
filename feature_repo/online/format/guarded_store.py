"""Base of the guarded online stores: writes in bulk, and runs of materialization.

A guarded store compares event and created timestamps to the microsecond and sets in one step. An
older row never replaces a newer one; a row with the same timestamps is a correction.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.repo_config import RepoConfig

from feature_repo.online.format.expiry import ExpiringStore
from feature_repo.online.format.progress_mark import ProgressMark
from feature_repo.online.format.rows import FeastRow, OnlineRows, rows_of_protos, rows_of_table


class StoredView(Protocol):
    """The rows of one view in a store, open for writing."""

    def write(self, rows: OnlineRows, bound: datetime | None) -> int:
        """Writes rows, each unless a newer one is stored; returns the number written.

        A stored row of an event before ``bound`` is replaced in any case.
        """

    def remove(self, keys: Sequence[bytes], bound: datetime) -> int:
        """Removes rows of these entity keys of events before ``bound``; returns their number."""

    def stray_keys(self, keep: AbstractSet[bytes]) -> Iterable[bytes]:
        """Yields the stored entity keys that are not to be kept."""


class GuardedStore(ExpiringStore):
    """A Feast online store that never replaces a newer row by an older one.

    A store adds ``open_view``, ``read_mark`` and ``begin_run``. ``with_texts`` is true if its
    stored form has texts beside the values.
    """

    with_texts: bool

    def open_view(
        self, config: RepoConfig, view: FeatureView, mark: ProgressMark | None = None
    ) -> AbstractContextManager[StoredView]:
        """Opens a view's rows for writing; stores the mark after them unless the block raises.

        Raises MaterializationRefused if another run has replaced the mark.
        """
        raise NotImplementedError

    def read_mark(self, config: RepoConfig, view: FeatureView) -> ProgressMark | None:
        """Reads the progress mark of the view's materialization; None if there is none."""
        raise NotImplementedError

    def begin_run(
        self,
        config: RepoConfig,
        view: FeatureView,
        mark: ProgressMark,
        stored: ProgressMark | None,
    ) -> bool:
        """Replaces the stored mark by a new run's; false if another run has changed it."""
        raise NotImplementedError

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Writes Feast's rows: (entity key, values, event time, created time)."""
        with self.open_view(config, table) as stored:
            for rows in rows_of_protos(config, data):
                stored.write(rows, None)
        if progress:
            progress(len(data))

    def encode(self, config: RepoConfig, view: FeatureView, table: pa.RecordBatch) -> OnlineRows:
        """Encodes an Arrow batch for ``write_table``; may run in any thread."""
        return rows_of_table(config, view, table, self.with_texts)

    def write_table(
        self,
        config: RepoConfig,
        view: FeatureView,
        table: pa.RecordBatch | OnlineRows,
        removed: Sequence[bytes] = (),
        mark: ProgressMark | None = None,
    ) -> int:
        """Writes a batch, encoded or not, and removes entity keys; returns the rows changed.

        With a mark, stored rows of events before its bound are replaced in any case, and the mark
        is stored with the batch. Raises MaterializationRefused if another run took over, and
        ValueError for keys to remove without a mark.
        """
        if removed and mark is None:
            raise ValueError("Expected a mark beside the keys to remove, got none; begin a run.")
        rows = table if isinstance(table, OnlineRows) else self.encode(config, view, table)
        with self.open_view(config, view, mark) as stored:
            if mark is None:
                return stored.write(rows, None)
            return stored.write(rows, mark.bound) + stored.remove(removed, mark.bound)

    def finish_run(
        self,
        config: RepoConfig,
        view: FeatureView,
        mark: ProgressMark,
        keep: AbstractSet[bytes] | None,
    ) -> int:
        """Ends a run and removes rows before the mark's bound whose entity is not to be kept.

        Returns the number of rows removed; None keeps all. Raises MaterializationRefused if
        another run took over.
        """
        with self.open_view(config, view, mark) as stored:
            if keep is None:
                return 0
            return stored.remove(list(stored.stray_keys(keep)), mark.bound)
