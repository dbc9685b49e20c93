"""Stage timers: the time that each stage of a recommendation takes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

STAGES = ("read_user", "rules", "features", "score", "rank", "answer", "log")
"""The stages of a recommendation. For a cached user, rules and features run before the read
returns."""


class Lap(NamedTuple):
    """A stage with its start and end, in nanoseconds of the timer."""

    stage: str
    start: int
    end: int


class StageTimer(Protocol):
    """Measures the stages of one request."""

    def lap(self, stage: str) -> None:
        """Ends a stage now. The stage started when the one before it ended."""

    def candidates(self, count: int) -> None:
        """Records the number of coupons that can reach the user."""

    def finish(self) -> None:
        """Ends the request."""


class NoTimer:
    """A stage timer that measures nothing."""

    def lap(self, stage: str) -> None:
        return None

    def candidates(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None


class MeteredTimer:
    """A stage timer that calls ``listeners`` at the end of the request.

    ``timer`` returns nanoseconds.
    """

    def __init__(
        self,
        timer: Callable[[], int],
        listeners: Sequence[Callable[["MeteredTimer"], None]],
    ) -> None:
        self._timer = timer
        self._listeners = listeners
        self._stages: list[str] = []
        self._instants = [timer()]
        self.candidate_count = 0

    @property
    def laps(self) -> list[Lap]:
        """The stages that have ended."""
        return list(map(Lap, self._stages, self._instants, self._instants[1:]))

    def lap(self, stage: str) -> None:
        self._stages.append(stage)
        self._instants.append(self._timer())

    def candidates(self, count: int) -> None:
        self.candidate_count = count

    def finish(self) -> None:
        for listener in self._listeners:
            listener(self)
