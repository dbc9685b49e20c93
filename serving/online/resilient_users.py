"""What a request gets when something it stands on is slow, down or unknown: never an error.

The online store has a deadline. One that keeps missing it is not asked for a moment, so that a
store in trouble is not asked by everybody at once, and requests do not wait for what will not come.
Meanwhile a user is what was read of them last or, if nothing was, somebody unknown. The ledger is
left alone in the same way; meanwhile no coupon is shown whose limits it keeps.
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


_AT_ONCE = 8
"""So many requests read at once. What waits for the store would otherwise wait for all the others
that are worked on as well, and a busy worker would take itself for a slow store."""


_LATE_SHARE = 0.25
"""A deadline noticed later than by this share of it tells nothing of the store."""


User = Mapping[str, Any]


class UserReader(Protocol):
    """Reads what is known of one user."""

    async def user(self, user_id: str) -> User:
        """Every user feature of ``coupon_ranker_v1`` by name; None for each that is unknown."""

    def nobody(self) -> User:
        """The features of somebody of whom nothing is known."""


class ResilientUsers:
    """Reads users within a deadline, and has an answer when the store has none.

    What was read last is given only while the store is in trouble: every other request reads anew.
    ``is_lost`` says that the store holds no more of what was materialized.
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
        self._last: OrderedDict[str, User] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def is_down(self) -> bool:
        """Whether the store is being left alone."""
        return self._breaker.is_open

    async def warm(self) -> None:
        """Connect to the store, so that the first request need not; it may be down."""
        with suppress(Exception):
            async with asyncio.timeout(_WARM_SECONDS):
                await self._reader.user("")

    def remembered(self, user_id: str) -> User | None:
        """Who was read last, if that still is in memory; only ``read`` knows whether it holds."""
        return self._last.get(user_id)

    def held(self) -> list[str]:
        """The ids of those who are in memory, who was asked for last first."""
        return [*reversed(self._last)]

    async def read(self, user_id: str) -> tuple[User, tuple[str, ...]]:
        """What is known of a user, and in which ways it is less than it should be.

        A user of whom the very same was read before is the same object as then.
        """
        user = await self._current(user_id)
        if user is not None:
            self._last[user_id] = user
            self._last.move_to_end(user_id)
            self._forget()
            return user, ()
        if user_id in self._last:
            return self._last[user_id], (ONLINE_STORE, CACHED_FEATURES)
        return self._reader.nobody(), (ONLINE_STORE, COLD_START_FEATURES)

    async def ahead(self, user_id: str) -> User | None:
        """Read somebody whom nobody asked for, and remember them if there is room.

        None while the store is in trouble.
        """
        user = await self._current(user_id)
        if user is not None:
            is_new = user_id not in self._last
            self._last[user_id] = user
            if is_new:
                self._last.move_to_end(user_id, last=False)
            self._forget()
        return user

    async def _current(self, user_id: str) -> User | None:
        """What the store has: who was read before, if that is the very same. None in trouble."""
        async with self._turns:
            user = await self._tried(user_id) if self._breaker.allows() else None
        if user is None or self._is_lost():
            return None
        before = self._last.get(user_id)
        return before if isinstance(before, Entity) and before.is_as(user) else user

    def _forget(self) -> None:
        if len(self._last) > self._settings.remembered:
            self._last.popitem(last=False)

    async def _tried(self, user_id: str, again: bool = True) -> User | None:
        """What the store has of a user, None if it fails or takes too long."""
        try:
            with TimeLimit(self._settings.deadline_seconds) as limit:
                user = await self._reader.user(user_id)
        except Exception as error:
            # Whatever the store's client raises: the request goes on without the store.
            if not self._loop_was_blocked(limit):
                self._note(error)
                return None
            return await self._tried(user_id, again=False) if again else None
        self._breaker.succeeded()
        return user

    def _loop_was_blocked(self, limit: TimeLimit) -> bool:
        """Whether it was this process that came too late, and not the store.

        What holds up the event loop makes every read under way miss its deadline at once.
        """
        return (
            limit.has_expired and limit.seconds_late > _LATE_SHARE * self._settings.deadline_seconds
        )

    def _note(self, error: Exception) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            log.warning("the online store is left alone for a while: %s", type(error).__name__)
