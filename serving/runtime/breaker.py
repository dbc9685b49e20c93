"""A circuit breaker."""

from collections.abc import Callable


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
