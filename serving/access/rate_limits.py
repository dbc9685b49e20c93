"""Request rates of API keys, in this process."""

from collections.abc import Callable


class Rates:
    """How many requests each key made of late, in this process.

    A key may make ``per_second`` requests a second, and as many as one second's (at least one) at
    once. ``timer`` gives seconds that only grow.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._spent_until: dict[str, float] = {}

    def wait(self, key_id: str, per_second: float) -> float:
        """Count a request: 0 if it may come in, else the seconds until the next one may.

        A request costs ``1 / per_second`` seconds of credit (the generic cell rate algorithm).
        """
        now, cost = self._timer(), 1 / per_second
        spent_until = max(self._spent_until.get(key_id, now), now)
        ahead = spent_until + cost - now - max(1.0, cost)
        if ahead > 1e-9:
            return ahead
        self._spent_until[key_id] = spent_until + cost
        return 0.0
