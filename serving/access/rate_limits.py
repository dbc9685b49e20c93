"""Request rates of API keys, in this process."""

from collections.abc import Callable


class RateLimiter:
    """Counts the requests of each key, in this process.

    A key may make ``per_second`` requests per second, and a burst of one second's requests (at
    least one). ``timer`` returns seconds that never decrease.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._spent_until: dict[str, float] = {}

    def seconds_to_wait(self, key_id: str, per_second: float) -> float:
        """Counts a request and returns 0, or returns the seconds until the next one is admitted.

        A request costs ``1 / per_second`` seconds of credit (the generic cell rate algorithm,
        ITU-T I.371). A refused request costs nothing.

        >>> limiter = RateLimiter(timer=lambda: 0.0)
        >>> [limiter.seconds_to_wait("key", 2.0) for _ in range(3)]
        [0.0, 0.0, 0.5]
        """
        now, cost = self._timer(), 1 / per_second
        spent_until = max(self._spent_until.get(key_id, now), now)
        excess = spent_until + cost - now - max(1.0, cost)
        if excess > 1e-9:
            return excess
        self._spent_until[key_id] = spent_until + cost
        return 0.0
