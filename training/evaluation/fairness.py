"""Whether the ranker serves some people better than others: gaps between demographic groups."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.data.frame import RankingFrame, groups
from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF, REPEATS

DEMOGRAPHIC = ("age", "income", "children")
"""The slicings that say who a household is, not what it bought."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Gap:
    """NDCG@10 of one part less that of another: of the ranker, of another model, and of both.

    Each interval is (low, high) with 95% confidence, by bootstrap over all users. ``widened`` is
    the ranker's gap less the other's. ``groups`` counts those with a redeemed coupon in each part.
    """

    slicing: str
    parts: tuple[str, str]
    groups: tuple[int, int]
    ranker: float
    ranker_interval: tuple[float, float]
    other: float
    other_interval: tuple[float, float]
    widened: float
    widened_interval: tuple[float, float]


def gaps(
    frame: RankingFrame,
    ranker: np.ndarray,
    other: np.ndarray,
    slicings: Mapping[str, np.ndarray],
    seed: int = 2017,
) -> tuple[Gap, ...]:
    """The gap between the two known parts of every demographic slicing that has both.

    ``ranker`` and ``other`` are scores, one a pair; ``slicings`` has the part of every group.
    """
    values = np.stack([_primary(frame, one) for one in (ranker, other)])
    counted = ~np.isnan(values[0])
    users = frame.user_id[groups(frame)][counted]
    found = []
    for slicing in DEMOGRAPHIC:
        of = slicings[slicing][counted]
        parts = sorted(set(of) - {UNKNOWN})
        if len(parts) == 2:
            found.append(_gap(slicing, tuple(parts), of, values[:, counted], users, seed))
    return tuple(found)


def _primary(frame: RankingFrame, scores: np.ndarray) -> np.ndarray:
    ranking = group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, scores)
    return group_metrics.ndcg(ranking, PRIMARY_CUTOFF)


def _gap(
    slicing: str,
    parts: tuple[str, str],
    of: np.ndarray,
    values: np.ndarray,
    users: np.ndarray,
    seed: int,
) -> Gap:
    within = [of == part for part in parts]
    drawn = _drawn_gaps(within, values, users, seed)
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0).tolist()
    ranker, other = (float(one[within[0]].mean() - one[within[1]].mean()) for one in values)
    return Gap(
        slicing,
        parts,
        tuple(int(here.sum()) for here in within),
        ranker,
        (low[0], high[0]),
        other,
        (low[1], high[1]),
        ranker - other,
        (low[2], high[2]),
    )


def _drawn_gaps(
    within: list[np.ndarray], values: np.ndarray, users: np.ndarray, seed: int
) -> np.ndarray:
    """The ranker's gap, the other's and their difference (draws x 3) when users are drawn anew."""
    owner = np.unique(users.astype(str), return_inverse=True)[1]
    # Counts and sums by user, so that drawing users is weighting them.
    columns = [np.stack([np.ones(len(owner)), *values]) * here for here in within]
    by_user = np.stack([np.bincount(owner, one) for part in columns for one in part], axis=1)
    draw = np.random.default_rng(seed).integers
    drawn = np.empty((REPEATS, 6))
    for repeat in range(REPEATS):
        times = np.bincount(draw(0, len(by_user), len(by_user)), minlength=len(by_user))
        drawn[repeat] = times @ by_user
    # A draw without a user of one of the parts has no gap.
    drawn = drawn[(drawn[:, 0] > 0) & (drawn[:, 3] > 0)]
    found = drawn[:, 1:3] / drawn[:, :1] - drawn[:, 4:] / drawn[:, 3:4]
    return np.column_stack([found, found[:, 0] - found[:, 1]])
