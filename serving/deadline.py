"""How long an answer may take: the request is told no, and what was begun for it comes to nothing.

A thread cannot be stopped. What runs in one looks at the deadline itself before it takes or records
anything, so that nothing is reserved for an answer that nobody gets.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

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


class Begun(Generic[Result]):
    """A coroutine that runs at once up to where it first waits, and goes on when it is awaited.

    Whoever begins one may do something else meanwhile, in the same task and the same turn.
    """

    def __init__(self, coroutine: Coroutine[Any, None, Result]) -> None:
        self._coroutine = coroutine
        self._is_done = False
        self._advance(partial(coroutine.send, None))

    def __await__(self) -> Generator[Any, Any, Result]:
        while not self._is_done:
            try:
                sent = yield self._last
                step = partial(self._coroutine.send, sent)
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
            self._advance(step)
        return self._last

    def _advance(self, step: Callable[[], Any]) -> None:
        """Go on to what it waits for next, or to what it comes to."""
        try:
            self._last = step()
        except StopIteration as end:
            self._last, self._is_done = end.value, True


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
