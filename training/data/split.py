"""The split by time into train, valid and test, without outcomes from the future."""

import logging
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from feature_repo.instants import DAY, microseconds
from training.data.frame import RankingFrame, shared

logger = logging.getLogger(__name__)

VALID_WEEKS = 8
"""Long enough for a campaign of one or two months to run and to be mostly redeemed."""


class SplitError(ValueError):
    """The split is not possible; the message names the part that would be wrong."""


@dataclass(frozen=True)
class TimeSplit:
    """The starts of valid and of test, in int64 microseconds, UTC."""

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
        """Returns a split with test from an instant on and valid in the weeks before it.

        Raises SplitError for an instant without a time zone.
        """
        if test_start.tzinfo is None:
            raise SplitError(
                f"Expected test_start with a time zone, got {test_start.isoformat()}: add one, "
                "as in 2017-10-01T00:00:00+00:00."
            )
        test = microseconds(test_start)
        return cls(test - valid_weeks * 7 * DAY, test)


def split(frame: RankingFrame, at: TimeSplit) -> tuple[RankingFrame, RankingFrame, RankingFrame]:
    """Returns train, valid and test. Each visit is in exactly one of them.

    A part that is a single run of rows shares its memory with ``frame``.

    Train and valid contain only pairs whose outcome was final and known before ``test_start``.
    Other pairs are left out and do not count as unredeemed: their redemption became known later,
    or their coupon was still open. Test keeps every pair.

    If no such pair is older than ``valid_start``, train takes the pairs of valid. Raises SplitError
    if train or test would be empty, or if test has no redemption.
    """
    before = frame.as_of < at.test_start
    settled = before & settled_before(frame, at.test_start)
    early = frame.as_of < at.valid_start
    if not (early & settled).any():
        early = before
    masks = {"train": early & settled, "valid": settled & ~early, "test": ~before}
    for name, mask in masks.items():
        logger.info("%s: %d pairs, %d redeemed", name, mask.sum(), frame.label[mask].sum())
        if name != "valid" and not mask.any():
            raise SplitError(
                f"Expected visits for {name}, got none in {len(frame)} pairs: move test_start "
                "(--test-start), or ingest a longer period."
            )
    if not frame.label[masks["test"]].any():
        raise SplitError(
            f"Expected redemptions in test, got none in {masks['test'].sum()} pairs: move "
            "test_start (--test-start), or ingest a longer period."
        )
    train, valid, test = (shared(frame, mask) for mask in masks.values())
    return train, valid, test


def settled_before(frame: RankingFrame, cutoff: int) -> np.ndarray:
    """Returns a Boolean mask of the pairs whose outcome was final and known before ``cutoff``.

    ``cutoff`` is in microseconds and exclusive. A coupon that ends at the cutoff can no longer be
    redeemed, so its pair counts as settled.
    """
    return np.where(frame.label > 0, frame.learned < cutoff, frame.open_until <= cutoff)
