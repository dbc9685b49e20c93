"""Prefetches users likely to send a request, so that their first one is as fast as later ones."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from serving.candidates.index import CandidateIndex

log = logging.getLogger(__name__)

_SHARE = 0.2
"""Largest share of event-loop time that prefetching may use."""


class Prefetch:
    """Prefetches likely users after each rebuild of the candidate index.

    Likely users are those ``cached`` in this worker, then those of ``active`` (a slow query), up to
    ``most`` in all. ``prefetch`` prefetches one; false means that no other should follow. The index
    is checked every ``seconds``. ``timer`` gives monotonic seconds, ``sleep`` waits for seconds.
    """

    def __init__(
        self,
        prefetch: Callable[[str], Awaitable[bool]],
        index: Callable[[], CandidateIndex | None],
        cached: Callable[[], Sequence[str]],
        active: Callable[[], Iterable[str]],
        most: int,
        seconds: float,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._prefetch = prefetch
        self._index = index
        self._cached = cached
        self._active = active
        self._most = most
        self._seconds = seconds
        self._timer = timer
        self._sleep = sleep

    async def run(self) -> None:
        """Prefetches after each rebuild until cancelled. Failures are logged; the next one runs."""
        done: CandidateIndex | None = None
        while True:
            index = self._index()
            if index is not None and index is not done:
                done = index
                try:
                    await self._prefetch_all(index)
                except Exception as error:
                    log.warning("likely users were not prefetched: %s", error)
            await self._sleep(self._seconds)

    async def _prefetch_all(self, index: CandidateIndex) -> None:
        began, count = self._timer(), 0
        for user_id in await self._likely():
            started = self._timer()
            if self._index() is not index or not await self._prefetch(user_id):
                break
            count += 1
            await self._sleep((self._timer() - started) * (1 / _SHARE - 1))
        log.info("prefetched %d users in %.0f s", count, self._timer() - began)

    async def _likely(self) -> list[str]:
        user_ids = self._cached()
        if len(user_ids) < self._most:
            user_ids = [*user_ids, *await asyncio.to_thread(self._active)]
        return list(dict.fromkeys(user_ids))[: self._most]
