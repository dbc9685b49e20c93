"""The clock of the service: the instant that a request is decided for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from feature_repo.instants import from_microseconds, microseconds
from serving.errors import AsOfRefused


@dataclass(frozen=True)
class Clock:
    """The current instant. In replay it is fixed, and a request may state its own ``as_of``."""

    now: Callable[[], datetime]
    replay: bool = False

    def instant(self, as_of: datetime | None, watermark: datetime | None) -> datetime:
        """Returns ``as_of`` if a request in replay states it, else the current instant.

        ``watermark`` is the end of the online features. An earlier ``as_of`` is refused: the
        features would contain its future. Raises AsOfRefused.
        """
        if as_of is None:
            return self.now()
        if not self.replay:
            raise AsOfRefused(
                "Expected no as_of, because this service runs on the wall clock; leave it out, or "
                "start a service in replay by `clipwise serve --replay`."
            )
        if watermark is not None and as_of < watermark:
            raise AsOfRefused(
                f"Expected as_of not before the online watermark {isoformat(watermark)}; for an "
                "earlier instant use `clipwise recommend --as-of`."
            )
        return as_of


def steady_wall_clock(wall: Callable[[], float], timer: Callable[[], float]) -> Callable[[], float]:
    """Returns a wall clock in seconds that ignores forward jumps, measured by ``timer``.

    With it, a clock that is set forward makes nothing old, so no file is deleted too early.

    >>> wall, timer = [1_000.0], [0.0]
    >>> now = steady_wall_clock(lambda: wall[0], lambda: timer[0])
    >>> wall[0], timer[0] = 9_000.0, 5.0
    >>> now()
    1005.0
    """
    start = wall() - timer()
    return lambda: min(wall(), start + timer())


def isoformat(instant: datetime) -> str:
    """Formats an instant in UTC.

    >>> isoformat(datetime.fromisoformat("2017-12-30T19:00:00-05:00"))
    '2017-12-31T00:00:00Z'
    """
    return from_microseconds(microseconds(instant)).isoformat().replace("+00:00", "Z")


def frozen_at(
    instant: datetime, watermark: Callable[[], datetime | None]
) -> Callable[[], datetime]:
    """Returns a clock fixed at ``instant``, or at the online watermark once that is later.

    The online features contain everything up to their watermark.
    """

    def now() -> datetime:
        return max(instant, watermark() or instant)

    return now
