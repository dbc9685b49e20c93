"""The split by time: who was exposed when, and what was known of it at the cutoff."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from training.data.frame import RankingFrame, take

logger = logging.getLogger(__name__)

VALID_WEEKS = 8
"""Long enough that a campaign of a month or two has been shown and mostly redeemed within it."""


class SplitError(ValueError):
    """The split cannot be made; the message says which part would be wrong."""


@dataclass(frozen=True)
class TimeSplit:
    """The instants, in int64 microseconds UTC, from which exposures are valid and then test."""

    valid_start: int
    test_start: int

    def __post_init__(self) -> None:
        if self.valid_start >= self.test_start:
            raise SplitError(
                f"Expected valid_start before test_start, got {self.valid_start} and "
                f"{self.test_start} microseconds: choose an earlier valid_start."
            )

    @classmethod
    def before(cls, test_start: datetime, valid_weeks: int = VALID_WEEKS) -> "TimeSplit":
        """Test from an instant on, valid the weeks before it. Raises SplitError for naive time."""
        if test_start.tzinfo is None:
            raise SplitError(
                f"Expected test_start with a time zone, got {test_start.isoformat()}: say which, "
                "as in 2017-10-01T00:00:00+00:00."
            )
        epoch = datetime.fromtimestamp(0, test_start.tzinfo)
        test = (test_start - epoch) // timedelta(microseconds=1)
        week = timedelta(weeks=1) // timedelta(microseconds=1)
        return cls(test - valid_weeks * week, test)


def split(frame: RankingFrame, at: TimeSplit) -> tuple[RankingFrame, RankingFrame, RankingFrame]:
    """Train, valid and test, each of whole exposures.

    What train and valid know ends at ``test_start``. A redemption that was learned then or later
    is not known yet, and a coupon still open then may yet be redeemed: such pairs are left out,
    they are not zeros. Test keeps every pair. A group keeps its place even if pairs of it go.
    On a history that begins after ``valid_start`` train takes what would be valid.
    Raises SplitError if train or test would be empty, or if nothing was redeemed in test.
    """
    before = frame.as_of < at.test_start
    known = before & known_at(frame, at.test_start)
    early = frame.as_of < at.valid_start
    if not (early & known).any():
        early = before
    masks = {"train": early & known, "valid": known & ~early, "test": ~before}
    for name, mask in masks.items():
        logger.info("%s: %d pairs, %d redeemed", name, mask.sum(), frame.label[mask].sum())
        if name != "valid" and not mask.any():
            raise SplitError(
                f"Expected exposures for {name}, got none of {len(frame)} pairs: move test_start "
                "(--test-start), or ingest a longer period."
            )
    if not frame.label[masks["test"]].any():
        raise SplitError(
            f"Expected redemptions in test, got none in {masks['test'].sum()} pairs: move "
            "test_start (--test-start), or ingest a longer period."
        )
    return tuple(take(frame, mask) for mask in masks.values())


def known_at(frame: RankingFrame, cutoff: int) -> np.ndarray:
    """Which pairs have an outcome that was settled and known strictly before an instant.

    ``cutoff`` is in microseconds. A coupon that ends at the cutoff can no longer be redeemed.
    """
    return np.where(frame.label > 0, frame.learned < cutoff, frame.open_until <= cutoff)
