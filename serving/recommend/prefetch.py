"""Reads ahead who is likely to come, so that a first request costs no more than a later one."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from serving.candidates.index import CandidateIndex

log = logging.getLogger(__name__)

_SHARE = 0.2
"""Of the time that this may take of the requests', who all wait for the same event loop."""


class Prefetch:
    """Has everybody who is likely to come worked out, whenever there is another candidate index.

    Likely are those whom the worker holds and, up to ``most`` in all, those that ``active`` gives,
    which may take long. ``ahead`` works out one, and says whether the next one should follow. Every
    so many ``seconds`` the index is looked at.
    """

    def __init__(
        self,
        ahead: Callable[[str], Awaitable[bool]],
        index: Callable[[], CandidateIndex | None],
        held: Callable[[], Sequence[str]],
        active: Callable[[], Iterable[str]],
        most: int,
        seconds: float,
    ) -> None:
        self._ahead = ahead
        self._index = index
        self._held = held
        self._active = active
        self._most = most
        self._seconds = seconds

    async def run(self) -> None:
        """Look for another index until cancelled. What fails is logged, and the next one tried."""
        done: CandidateIndex | None = None
        while True:
            index = self._index()
            if index is not None and index is not done:
                done = index
                try:
                    await self._work_through(index)
                except Exception as error:
                    log.warning("who is likely to come was not read ahead: %s", error)
            await asyncio.sleep(self._seconds)

    async def _work_through(self, index: CandidateIndex) -> None:
        began, count = time.monotonic(), 0
        for name in await self._likely():
            started = time.monotonic()
            goes_on = self._index() is index and await self._ahead(name)
            if not goes_on:
                break
            count += 1
            await asyncio.sleep((time.monotonic() - started) * (1 / _SHARE - 1))
        log.info("read ahead %d users in %.0f s", count, time.monotonic() - began)

    async def _likely(self) -> list[str]:
        names = self._held()
        if len(names) < self._most:
            names = [*names, *await asyncio.to_thread(self._active)]
        return list(dict.fromkeys(names))[: self._most]
