"""Work beside the event loop: a started coroutine, and a thread pool for long decisions."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

_THREADS = 32
"""Beyond so many decisions at once the others wait, at most until their deadline."""


Result = TypeVar("Result")


class StartedCoroutine(Generic[Result]):
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
