"""How long each stage of a request took, measured once and told to whoever wants to know."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

STAGES = ("read_user", "rules", "features", "score", "rank", "answer", "log")
"""What a recommendation goes through. Rules and features come before the wait for the store, where
it said something of the user before."""


class Lap(NamedTuple):
    """A stage, and when it began and ended, in nanoseconds of the laps' timer."""

    stage: str
    begun: int
    ended: int


class StageTimer(Protocol):
    """Hears of a request's stages as they end."""

    def lap(self, stage: str) -> None:
        """The stage ended now; it began when the one before it ended."""

    def candidates(self, count: int) -> None:
        """So many coupons can reach the user."""

    def finish(self) -> None:
        """The request was answered."""


class NoTimer:
    """Measures nothing."""

    def lap(self, stage: str) -> None:
        return None

    def candidates(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None


class MeteredTimer:
    """Measures a request's stages by ``timer`` (nanoseconds) and tells them to ``listeners``."""

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
        """The stages so far."""
        return list(map(Lap, self._stages, self._instants, self._instants[1:]))

    def lap(self, stage: str) -> None:
        self._stages.append(stage)
        self._instants.append(self._timer())

    def candidates(self, count: int) -> None:
        self.candidate_count = count

    def finish(self) -> None:
        for listener in self._listeners:
            listener(self)
