"""The instant a request is decided for, and instants as the arrays carry them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from feature_repo.instants import from_microseconds, microseconds
from serving.errors import AsOfRefused


@dataclass(frozen=True)
class Clock:
    """Tells the time. In replay it stands still, and a request may name its own instant."""

    now: Callable[[], datetime]
    replay: bool = False

    def instant(self, as_of: datetime | None, watermark: datetime | None) -> datetime:
        """The instant to decide for: ``as_of`` if the service is in replay, else now.

        ``watermark`` is how far the online features go: before it they would show the future.
        Raises AsOfRefused.
        """
        if as_of is None:
            return self.now()
        if not self.replay:
            raise AsOfRefused(
                "This service runs on the wall clock, and only one in replay accepts as_of; leave "
                "it out, or start `clipwise serve --replay`."
            )
        if watermark is not None and as_of < watermark:
            raise AsOfRefused(
                f"Expected as_of not before the online watermark {isoformat(watermark)}; for an "
                "earlier instant use `clipwise recommend --as-of`."
            )
        return as_of


def steady_wall_clock(wall: Callable[[], float], timer: Callable[[], float]) -> Callable[[], float]:
    """The wall clock in seconds, held back where it runs ahead of a timer begun now.

    By it a clock that jumps ahead makes nothing old.
    """
    begun = wall() - timer()
    return lambda: min(wall(), begun + timer())


def isoformat(instant: datetime) -> str:
    """The instant in UTC as 2017-12-31T00:00:00Z."""
    return from_microseconds(microseconds(instant)).isoformat().replace("+00:00", "Z")


def frozen_at(
    instant: datetime, watermark: Callable[[], datetime | None]
) -> Callable[[], datetime]:
    """An instant, or where the online features end once they go further: they show up to there."""

    def now() -> datetime:
        return max(instant, watermark() or instant)

    return now
