"""What a request gets when something it stands on is slow, down or unknown: never an error.

The online store has a deadline. One that keeps missing it is not asked for a moment, so that a
store in trouble is not asked by everybody at once, and requests do not wait for what will not come.
Meanwhile a user is what was read of them last or, if nothing was, somebody unknown. The ledger is
left alone in the same way; meanwhile no coupon is shown whose limits it keeps.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from feature_repo.online.entity import Entity
from serving.deadline import TimeLimit
from serving.errors import StorageFailed
from serving.ledger import Claim, Ledger, Redemption, Usage
from serving.settings import OnlineSettings

log = logging.getLogger(__name__)

_WARM_SECONDS = 2.0
_AT_ONCE = 8
"""So many requests read at once. What waits for the store would otherwise wait for all the others
that are worked on as well, and a busy worker would take itself for a slow store."""

_LATE_SHARE = 0.25
"""A deadline noticed later than by this share of it tells nothing of the store."""

ONLINE_STORE = "online-store"
CACHED_FEATURES = "cached-features"
COLD_START_FEATURES = "cold-start-features"
LEDGER = "ledger"
REGISTRY = "registry"
UNKNOWN_USER = "unknown-user"
UNKNOWN_PRODUCT = "unknown-product"
STALE_FEATURES = "stale-features"
NO_CANDIDATES = "no-candidates"

KINDS: Mapping[str, str] = {
    ONLINE_STORE: "The online store was not asked, failed, missed its deadline, or is empty.",
    CACHED_FEATURES: "The user is as last read here before the online store was in trouble.",
    COLD_START_FEATURES: "The user counts as unknown, since the online store was in trouble.",
    LEDGER: "Coupons whose limits the ledger keeps were not shown, since it could not be asked.",
    REGISTRY: "The model registry does not answer or has no model that may serve.",
    UNKNOWN_USER: "Nothing is known of the user.",
    UNKNOWN_PRODUCT: "A product in the cart is one that the lake does not know.",
    STALE_FEATURES: "A feature view was not materialized for longer than it allows.",
    NO_CANDIDATES: "There is no coupon that the user may see.",
}
"""Every way in which an answer is less than it could be; a header says which, a counter counts."""

User = Mapping[str, Any]
Answer = TypeVar("Answer")


class UserReader(Protocol):
    """Reads what is known of one user."""

    async def user(self, user_id: str) -> User:
        """Every user feature of ``coupon_ranker_v1`` by name; None for each that is unknown."""

    def nobody(self) -> User:
        """The features of somebody of whom nothing is known."""


class Breaker:
    """Says whether to try. ``timer`` gives seconds that only grow."""

    def __init__(self, failures: int, pause_seconds: float, timer: Callable[[], float]) -> None:
        self._most = failures
        self._pause = pause_seconds
        self._timer = timer
        self._failed = 0
        self._next_try = 0.0

    @property
    def is_open(self) -> bool:
        """Whether what it guards counts as down."""
        return self._failed >= self._most

    def allows(self) -> bool:
        """Whether this caller may try; while it is open, one caller a pause."""
        if not self.is_open:
            return True
        now = self._timer()
        if now < self._next_try:
            return False
        self._next_try = now + self._pause
        return True

    def succeeded(self) -> None:
        self._failed = 0

    def failed(self) -> None:
        self._failed += 1
        if self._failed == self._most:
            self._next_try = self._timer() + self._pause


class SteadyUsers:
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
            if not self._overslept(limit):
                self._note(error)
                return None
            return await self._tried(user_id, again=False) if again else None
        self._breaker.succeeded()
        return user

    def _overslept(self, limit: TimeLimit) -> bool:
        """Whether it was this process that came too late, and not the store.

        What holds up the event loop makes every read under way miss its deadline at once.
        """
        return limit.expired and limit.late > _LATE_SHARE * self._settings.deadline_seconds

    def _note(self, error: Exception) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            log.warning("the online store is left alone for a while: %s", type(error).__name__)


class SteadyLedger:
    """A ledger that is left alone for ``pause_seconds`` once it fails.

    One failure can take as long as a request may wait, and a request may ask several times. What
    was redeemed is entered in any case.
    """

    def __init__(self, ledger: Ledger, pause_seconds: float, timer: Callable[[], float]) -> None:
        self._ledger = ledger
        self._breaker = Breaker(1, pause_seconds, timer)

    def usage(self, user_id: str, since: int, until: int) -> Usage:
        """See ``Ledger``."""
        return self._asked(lambda: self._ledger.usage(user_id, since, until))

    def claim(self, user_id: str, claims: Sequence[Claim], at: int) -> dict[str, str]:
        """See ``Ledger``."""
        return self._asked(lambda: self._ledger.claim(user_id, claims, at))

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        self._ledger.redeem(redemptions, corrects)

    def identity(self) -> str:
        """See ``Ledger``."""
        return self._ledger.identity()

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        if not self._breaker.allows():
            raise StorageFailed("The ledger failed a moment ago and is left alone.")
        try:
            answer = ask()
        except StorageFailed:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return answer
