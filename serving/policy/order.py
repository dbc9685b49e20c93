"""The order of scored coupons, and the propensities of a deterministic list."""

from collections.abc import Sequence

import numpy as np

from feature_repo.transforms.tie_break import tie_break


def rank(
    scores: np.ndarray,
    coupon_ids: Sequence[str] | np.ndarray,
    k: int,
    ties: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the positions of the ``k`` highest scores, best first; unknown ones (NaN) come last.

    Equal scores are ordered by ``ties``, by default ``tie_break(coupon_ids)``. A caller that ranks
    the same coupons repeatedly passes it, to save the hashing.

    >>> rank(np.array([0.2, np.nan, 0.9]), ["a", "b", "c"], 2).tolist()
    [2, 0]
    """
    breaks = tie_break(coupon_ids) if ties is None else ties
    return np.lexsort((~breaks, -np.asarray(scores, dtype=np.float64)))[:k]


def certain_propensities(count: int) -> np.ndarray:
    """Returns the propensities of a deterministic list of ``count`` coupons: 1 each.

    >>> certain_propensities(3).tolist()
    [1.0, 1.0, 1.0]
    """
    return np.ones(count)
