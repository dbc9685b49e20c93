"""How long an answer may take: the request is told no, and what was begun for it comes to nothing.

A thread cannot be stopped. What runs in one looks at the deadline itself before it takes or records
anything, so that nothing is reserved for an answer that nobody gets.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from serving.errors import OutOfTime


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

    def kept(self) -> "TimeLimit":
        """What is awaited inside is given up at the deadline. Raises OutOfTime then."""
        return TimeLimit(self._end - self._timer(), self.missed)

    def missed(self) -> OutOfTime:
        return OutOfTime(
            f"There was no answer within {self._seconds:g} seconds; send the request again."
        )


class TimeLimit:
    """Gives up what the current task awaits inside after ``seconds``; raises what ``missed`` makes.

    Like ``asyncio.timeout``, whose two coroutines and states cost more than a request's rules do.
    """

    __slots__ = ("_seconds", "_missed", "_task", "_others", "_timer", "_end", "expired")

    def __init__(self, seconds: float, missed: Callable[[], Exception] = TimeoutError) -> None:
        self._seconds = seconds
        self._missed = missed
        self._timer: asyncio.TimerHandle | None = None
        self.expired = False

    @property
    def late(self) -> float:
        """How many seconds ago the time was over."""
        return asyncio.get_running_loop().time() - self._end

    def __enter__(self) -> "TimeLimit":
        self._task = asyncio.current_task()
        self._others = self._task.cancelling()
        if self._seconds < math.inf:
            loop = asyncio.get_running_loop()
            self._end = loop.time() + self._seconds
            self._timer = loop.call_at(self._end, self._expire)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.expired:
            return
        # Whoever cancels the task as well is not told that it was only late.
        if self._task.uncancel() <= self._others and kind is asyncio.CancelledError:
            raise self._missed() from error

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()


NEVER = partial(Deadline, math.inf, lambda: 0.0)
"""Begins a time without an end."""
