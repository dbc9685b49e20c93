"""Feast's Redis store, guarded against older writes.

Feast's own lets an older row replace a newer one if two processes write at once, and does not leave
out rows past their ttl.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

from feast.feature_view import FeatureView
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.repo_config import RepoConfig

from feature_repo.feast_internals import redis_client
from feature_repo.online.format.expiry import AsOf
from feature_repo.online.format.guarded_store import GuardedStore
from feature_repo.online.format.progress_mark import ProgressMark
from feature_repo.online.format.rows import FeastRow
from feature_repo.online.redis.guard import RedisView


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis settings; ``skip_dedup`` has no effect here.

    ``as_of`` is the instant at which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedRedisOnlineStore"] = (
        "feature_repo.online_store.GuardedRedisOnlineStore"  # type: ignore[assignment]  # Feast finds the store by it
    )
    as_of: AsOf = None


class GuardedRedisOnlineStore(GuardedStore, RedisOnlineStore):
    """Feast's Redis store that never replaces a newer row by an older one."""

    with_texts = False

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Does the same as ``online_write_batch``, in a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def open_view(
        self, config: RepoConfig, view: FeatureView, mark: ProgressMark | None = None
    ) -> AbstractContextManager[RedisView]:
        """Opens a view's rows for writing; stores the mark after them unless the block raises.

        Each row is written atomically, not the whole block. Raises MaterializationRefused if
        another run has replaced the mark.
        """
        return self._view(config, view).advancing(mark)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> ProgressMark | None:
        """Reads the progress mark of the view's materialization; None if there is none."""
        return self._view(config, view).read_mark()

    def begin_run(
        self,
        config: RepoConfig,
        view: FeatureView,
        mark: ProgressMark,
        stored: ProgressMark | None,
    ) -> bool:
        """Replaces the stored mark by a new run's; false if another run has changed it."""
        return self._view(config, view).begin_run(mark, stored)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Removes the rows of a view, as Feast does, and our own field beside them."""
        self._view(config, table).drop_created()
        super().delete_table(config, table)

    def _view(self, config: RepoConfig, view: FeatureView) -> RedisView:
        return RedisView.of(redis_client(self, config), config, view)
