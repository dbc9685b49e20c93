"""Request deadlines. A late request gets 503 and leaves no reservation and no log entry.

A thread cannot be stopped. So code in a thread checks the deadline itself before it reserves or
records anything.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from serving.errors import OutOfTime


class Deadline:
    """The end of a request's time, ``seconds`` from now.

    ``timer`` returns seconds that never decrease.
    """

    def __init__(self, seconds: float, timer: Callable[[], float]) -> None:
        self._seconds = seconds
        self._timer = timer
        self._end = timer() + seconds

    def check(self) -> None:
        """Raises OutOfTime if the deadline is over."""
        if self._timer() >= self._end:
            raise self.error()

    def time_limit(self) -> "TimeLimit":
        """Returns a context manager that cancels its body at the deadline with OutOfTime."""
        return TimeLimit(self._end - self._timer(), self.error)

    def error(self) -> OutOfTime:
        """Returns the error of a late request."""
        return OutOfTime(
            f"No answer was ready within {self._seconds:g} seconds; send the request again."
        )


class TimeLimit:
    """Cancels what the current task awaits inside it after ``seconds``.

    Then it raises the result of ``error``. Like ``asyncio.timeout``, whose two coroutines and
    states cost more time than the rules of a request.
    """

    __slots__ = ("_seconds", "_error", "_task", "_earlier", "_timer", "_end", "has_expired")

    def __init__(self, seconds: float, error: Callable[[], Exception] = TimeoutError) -> None:
        self._seconds = seconds
        self._error = error
        self._timer: asyncio.TimerHandle | None = None
        self.has_expired = False

    @property
    def seconds_late(self) -> float:
        """Seconds since the limit expired."""
        return asyncio.get_running_loop().time() - self._end

    def __enter__(self) -> "TimeLimit":
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # never None in a coroutine
        self._earlier = self._task.cancelling()
        if self._seconds < math.inf:
            loop = asyncio.get_running_loop()
            self._end = loop.time() + self._seconds
            self._timer = loop.call_at(self._end, self._expire)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.has_expired:
            return
        # If another caller cancelled the task as well, its CancelledError wins over the timeout.
        if self._task.uncancel() <= self._earlier and kind is asyncio.CancelledError:
            raise self._error() from error

    def _expire(self) -> None:
        self.has_expired = True
        self._task.cancel()


def no_deadline() -> Deadline:
    """Returns a deadline that never ends."""
    return Deadline(math.inf, lambda: 0.0)
