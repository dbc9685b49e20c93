"""Reads users from the online store with a timeout, a circuit breaker and a cache.

A request never fails because the store is slow or down. After repeated timeouts or errors the
breaker opens: for a pause no request reads the store, so none waits for it and it can recover.
Meanwhile a user is the one last read or, if none was, an unknown user (cold start).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from feature_repo.online.format.entity import Entity
from serving.online.settings import OnlineSettings
from serving.runtime.breaker import Breaker
from serving.runtime.deadline import TimeLimit
from serving.schemas.degradation import CACHED_FEATURES, COLD_START_FEATURES, ONLINE_STORE

log = logging.getLogger(__name__)


_WARM_SECONDS = 2.0
"""Timeout of the first connection at the start."""


_CONCURRENT_READS = 8
"""Most concurrent reads. More would count our own CPU time as latency of the store."""


_LATE_SHARE = 0.25
"""A timeout that fires late by more than this share of itself is caused by a blocked event loop,
not by the store."""


User = Mapping[str, Any]


class UserReader(Protocol):
    """Reads the features of one user."""

    async def user(self, user_id: str) -> User:
        """Returns every user feature of the rankers by name, None if unknown."""

    def unknown_user(self) -> User:
        """Returns the features of a user without any stored value."""


class ResilientUsers:
    """Reads users within a timeout; falls back to the cached or an unknown user.

    The cache serves as a fallback only: while the store answers, every request reads it.
    ``is_lost`` is true if the store lost the materialized data.
    """

    def __init__(
        self,
        reader: UserReader,
        settings: OnlineSettings,
        timer: Callable[[], float],
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reader = reader
        self._is_lost = is_lost
        self._settings = settings
        self._breaker = Breaker(settings.failures, settings.pause_seconds, timer)
        self._cache: OrderedDict[str, User] = OrderedDict()
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)

    @property
    def is_down(self) -> bool:
        """True while the circuit breaker is open."""
        return self._breaker.is_open

    async def warm(self) -> None:
        """Connects to the store, so that the first request need not; ignores every error."""
        with suppress(Exception):
            async with asyncio.timeout(_WARM_SECONDS):
                await self._reader.user("")

    def cached(self, user_id: str) -> User | None:
        """Returns the user as last read, possibly out of date, or None."""
        return self._cache.get(user_id)

    def cached_ids(self) -> list[str]:
        """Returns the ids of the cached users, most recently requested first."""
        return [*reversed(self._cache)]

    async def read(self, user_id: str) -> tuple[User, tuple[str, ...]]:
        """Reads a user; returns it with the kinds of degradation, none if it is current.

        If the stored user is unchanged since the last read, returns the same object as then.
        """
        user = await self._current(user_id)
        if user is not None:
            self._cache[user_id] = user
            self._cache.move_to_end(user_id)
            self._evict()
            return user, ()
        if user_id in self._cache:
            return self._cache[user_id], (ONLINE_STORE, CACHED_FEATURES)
        return self._reader.unknown_user(), (ONLINE_STORE, COLD_START_FEATURES)

    async def prefetch(self, user_id: str) -> User | None:
        """Reads a user before any request for it, and caches it if there is room.

        Never evicts another user. Returns None while the store is in trouble.
        """
        user = await self._current(user_id)
        if user is not None:
            is_new = user_id not in self._cache
            self._cache[user_id] = user
            if is_new:
                self._cache.move_to_end(user_id, last=False)
            self._evict()
        return user

    async def _current(self, user_id: str) -> User | None:
        """Returns the stored user, the cached object if it is equal; None in trouble."""
        async with self._slots:
            user = await self._try_read(user_id) if self._breaker.allows() else None
        if user is None or self._is_lost():
            return None
        cached = self._cache.get(user_id)
        return cached if isinstance(cached, Entity) and cached.has_same_bytes(user) else user

    def _evict(self) -> None:
        if len(self._cache) > self._settings.cached_users:
            self._cache.popitem(last=False)

    async def _try_read(self, user_id: str, again: bool = True) -> User | None:
        """Reads a user; returns None on an error or timeout of the store.

        A timeout of a blocked event loop is not the store's: it is retried once, if ``again``.
        """
        try:
            with TimeLimit(self._settings.deadline_seconds) as limit:
                user = await self._reader.user(user_id)
        except Exception as error:
            # The store's client may raise any error; the request does without the store.
            if not self._loop_was_blocked(limit):
                self._record_failure(error)
                return None
            return await self._try_read(user_id, again=False) if again else None
        self._breaker.succeeded()
        return user

    def _loop_was_blocked(self, limit: TimeLimit) -> bool:
        """True if the timeout fired too late, so the event loop was blocked.

        A blocked event loop makes all running reads time out at once.
        """
        return (
            limit.has_expired and limit.seconds_late > _LATE_SHARE * self._settings.deadline_seconds
        )

    def _record_failure(self, error: Exception) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            log.warning("the online store is not read for a while: %s", type(error).__name__)
