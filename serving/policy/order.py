"""The order of scored coupons, and the propensities of a deterministic list."""

from collections.abc import Sequence

import numpy as np

from feature_repo.transforms.tie_break import tie_break


def rank(
    scores: np.ndarray, coupon_ids: Sequence[str], k: int, ties: np.ndarray | None = None
) -> np.ndarray:
    """Positions of the ``k`` highest scores, best first; unknown scores (NaN) come last.

    Equal scores are ordered by ``ties``, what ``tie_break(coupon_ids)`` gives; a caller that ranks
    the same coupons again and again passes it to spare the hashing.
    """
    breaks = tie_break(coupon_ids) if ties is None else ties
    return np.lexsort((~breaks, -np.asarray(scores, dtype=np.float64)))[:k]


def certain(shown: int) -> np.ndarray:
    """The propensities of so many coupons that are shown for their rank: 1 each."""
    return np.ones(shown)
