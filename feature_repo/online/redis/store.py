"""Feast's Redis store, guarded against older writes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.repo_config import RepoConfig

from feature_repo.online.format.expiry import AsOf, RowAge
from feature_repo.online.format.progress_mark import Mark
from feature_repo.online.format.rows import (
    OnlineRows,
    rows_of_protos,
)
from feature_repo.online.format.tables import Bulk
from feature_repo.online.redis import guard


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis settings, of which ``skip_dedup`` does nothing here.

    ``as_of`` is the instant to which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedRedisOnlineStore"] = (
        "feature_repo.online_store.GuardedRedisOnlineStore"
    )
    as_of: AsOf = None


class GuardedRedisOnlineStore(Bulk, RowAge, RedisOnlineStore):
    """Feast's Redis store that never replaces a newer row by an older one, also of two at once."""

    with_texts = False

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write (entity key, values, event time, created time) rows."""
        for rows in rows_of_protos(config, data):
            guard.write(self._place(config, table), rows, None)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """As ``online_write_batch``, in a thread of its own."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def write_table(
        self,
        config: RepoConfig,
        view: FeatureView,
        table: pa.RecordBatch | OnlineRows,
        gone: Sequence[bytes] = (),
        mark: Mark | None = None,
    ) -> int:
        """Write a batch, or what ``encoded`` made of it, and take out what is ``gone``; how many.

        ``gone`` are entity keys. With a mark, held rows of events before its bound are replaced in
        any case, and the mark moves after the batch. Raises MaterializationRefused if another run
        took over.
        """
        rows, bound = self._encoded(config, view, table), mark and mark.bound
        place = self._place(config, view)
        with guard.moving(place, mark):
            return guard.write(place, rows, bound) + guard.remove(place, gone, bound)

    def finish(
        self, config: RepoConfig, view: FeatureView, mark: Mark, keep: set[bytes] | None
    ) -> int:
        """End a run, and take out the rows before the mark's bound of entities not to keep.

        Gives how many went; None keeps all. Raises MaterializationRefused if another run took over.
        """
        place = self._place(config, view)
        with guard.moving(place, mark):
            if keep is None:
                return 0
            return guard.remove(place, list(guard.stray_keys(place, keep)), mark.bound)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> Mark | None:
        """The mark of the view's materialization, if its rows were brought here by one."""
        return guard.read_mark(self._place(config, view))

    def take(self, config: RepoConfig, view: FeatureView, mark: Mark, held: Mark | None) -> bool:
        """Begin a run in place of the mark that was read; False if that has moved since."""
        return guard.take(self._place(config, view), mark, held)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Take out the rows of a view, as Feast does, and the field that we keep beside them."""
        guard.drop_created(self._place(config, table))
        super().delete_table(config, table)

    def _place(self, config: RepoConfig, view: FeatureView) -> guard.Place:
        return guard.Place.of(self._get_client(config.online_store), config, view)
