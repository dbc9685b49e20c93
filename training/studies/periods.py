"""Periods of a backtest: the instants at which models are trained again, and their folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feature_repo.instants import DAY, from_microseconds, microseconds
from training.data.frame import RankingFrame, take
from training.data.split import settled_before

WEEK = 7 * DAY


def weekly(first: int, until: int) -> tuple[int, ...]:
    """Returns ``first`` and every seventh day after it, before ``until``; int64 microseconds.

    >>> weekly(0, 15 * DAY) == (0, WEEK, 2 * WEEK)
    True
    """
    return tuple(range(first, until, WEEK))


def monthly(first: int, until: int) -> tuple[int, ...]:
    """Returns ``first`` and the start of every later calendar month in UTC, before ``until``.

    >>> [from_microseconds(one).date().isoformat() for one in monthly(9 * DAY, 60 * DAY)]
    ['1970-01-10', '1970-02-01', '1970-03-01']
    """
    starts, start = [], first
    while start < until:
        starts.append(start)
        start = _next_month(start)
    return tuple(starts)


def _next_month(instant: int) -> int:
    midnight = from_microseconds(instant).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    # The 1st and 31 days are always in the next month.
    return microseconds((midnight + timedelta(days=31)).replace(day=1))


@dataclass(frozen=True, eq=False)
class Fold:
    """A tested part of the data, and the pairs that were settled before its start.

    ``start`` is in int64 microseconds. The outcomes of ``train`` were final and known strictly
    before it. A pair that may still be redeemed then is left out.
    """

    start: int
    train: RankingFrame
    test: RankingFrame


def folds_of_visits(frame: RankingFrame, starts: Sequence[int], until: int) -> list[Fold]:
    """Builds a fold for each period: its visits, and the pairs settled before its start.

    ``starts`` are ascending. The last period ends at ``until``.
    """
    return [
        Fold(
            start,
            settled_pairs(frame, start),
            take(frame, (frame.as_of >= start) & (frame.as_of < end)),
        )
        for start, end in zip(starts, [*starts[1:], until], strict=True)
    ]


def settled_pairs(frame: RankingFrame, start: int) -> RankingFrame:
    """Selects the earlier pairs whose outcome was final and known strictly before ``start``."""
    return take(frame, (frame.as_of < start) & settled_before(frame, start))
