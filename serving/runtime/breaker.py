"""A circuit breaker: stops calling a store that keeps failing."""

from collections.abc import Callable


class Breaker:
    """Opens after ``failures`` in a row; then allows one call per ``pause_seconds``.

    The first success closes it. ``timer`` returns seconds that never decrease.

    >>> seconds = [0.0]
    >>> breaker = Breaker(failures=1, pause_seconds=10.0, timer=lambda: seconds[0])
    >>> breaker.failed()
    >>> breaker.is_open, breaker.allows()
    (True, False)
    >>> seconds[0] = 10.0
    >>> breaker.allows(), breaker.allows()
    (True, False)
    """

    def __init__(self, failures: int, pause_seconds: float, timer: Callable[[], float]) -> None:
        self._threshold = failures
        self._pause = pause_seconds
        self._timer = timer
        self._failures = 0
        self._next_try = 0.0

    @property
    def is_open(self) -> bool:
        """True while the guarded store counts as down."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """True if the caller may call the store; while open, for one caller per pause."""
        if not self.is_open:
            return True
        now = self._timer()
        if now < self._next_try:
            return False
        self._next_try = now + self._pause
        return True

    def succeeded(self) -> None:
        """Records a successful call, which closes the breaker."""
        self._failures = 0

    def failed(self) -> None:
        """Records a failed call; the one that reaches the threshold opens the breaker."""
        self._failures += 1
        if self._failures == self._threshold:
            self._next_try = self._timer() + self._pause
