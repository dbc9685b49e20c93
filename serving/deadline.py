"""How long an answer may take: the request is told no, and what was begun for it comes to nothing.

A thread cannot be stopped. What runs in one looks at the deadline itself before it takes or records
anything, so that nothing is reserved for an answer that nobody gets.
"""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from serving.errors import OutOfTime

_THREADS = 32
"""Beyond so many decisions at once the others wait, at most until their deadline."""

Result = TypeVar("Result")


class Deadline:
    """The end of one request's time, ``seconds`` from now; ``timer`` gives seconds that grow."""

    def __init__(self, seconds: float, timer: Callable[[], float]) -> None:
        self._seconds = seconds
        self._timer = timer
        self._end = timer() + seconds

    def check(self) -> None:
        """Raises OutOfTime if the time is over."""
        if self._timer() >= self._end:
            raise self.missed()

    def kept(self) -> "Kept":
        """What is awaited inside is given up at the deadline. Raises OutOfTime then."""
        return Kept(asyncio.timeout(self._end - self._timer()), self.missed)

    def missed(self) -> OutOfTime:
        return OutOfTime(
            f"There was no answer within {self._seconds:g} seconds; send the request again."
        )


class Kept:
    """A timeout that raises what ``missed`` makes in place of TimeoutError."""

    def __init__(self, limit: asyncio.Timeout, missed: Callable[[], Exception]) -> None:
        self._limit = limit
        self._missed = missed

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._limit.__aexit__(*raised)
        except TimeoutError as error:
            raise self._missed() from error


NEVER = partial(Deadline, math.inf, lambda: 0.0)
"""Begins a time without an end."""


class Threads:
    """Threads of their own for what takes long, so that nothing else waits for one of them."""

    def __init__(self, most: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(most, "decide")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in a thread; whoever awaits it may give up before it ends."""
        call = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Wait for the calls that run; those that wait are dropped."""
        self._pool.shutdown(cancel_futures=True)
