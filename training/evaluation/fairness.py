"""Fairness: differences in ranking quality between demographic groups of households."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.data.frame import RankingFrame, groups
from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF, REPEATS

DEMOGRAPHIC = ("age", "income", "children")
"""The slicings by properties of the household, not by its purchases."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Gap:
    """NDCG@10 of one part minus NDCG@10 of another, for the ranker and for another model.

    Each interval is (low, high) with 95% confidence, by bootstrap over all users. ``widened`` is
    the ranker's gap minus the other's. ``groups`` counts those with a redeemed coupon in each part.
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
    """Measures the gap of every demographic slicing with exactly two known parts.

    ``ranker`` and ``other`` have one score for each pair. ``slicings`` maps the name of a slicing
    to the part of every group.
    """
    values = np.stack([_primary(frame, one) for one in (ranker, other)])
    counted = ~np.isnan(values[0])
    users = frame.user_id[groups(frame)][counted]
    found = []
    for slicing in DEMOGRAPHIC:
        part_of = slicings[slicing][counted]
        parts = sorted(set(part_of) - {UNKNOWN})
        if len(parts) == 2:
            pair = parts[0], parts[1]
            found.append(_gap(slicing, pair, part_of, values[:, counted], users, seed))
    return tuple(found)


def _primary(frame: RankingFrame, scores: np.ndarray) -> np.ndarray:
    ranking = group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, scores)
    return group_metrics.ndcg(ranking, PRIMARY_CUTOFF)


def _gap(
    slicing: str,
    parts: tuple[str, str],
    part_of: np.ndarray,
    values: np.ndarray,
    users: np.ndarray,
    seed: int,
) -> Gap:
    first, second = (part_of == part for part in parts)
    resampled = _resampled_gaps([first, second], values, users, seed)
    low, high = np.percentile(resampled, (2.5, 97.5), axis=0).tolist()
    ranker, other = (float(one[first].mean() - one[second].mean()) for one in values)
    return Gap(
        slicing,
        parts,
        (int(first.sum()), int(second.sum())),
        ranker,
        (low[0], high[0]),
        other,
        (low[1], high[1]),
        ranker - other,
        (low[2], high[2]),
    )


def _resampled_gaps(
    within: list[np.ndarray], values: np.ndarray, users: np.ndarray, seed: int
) -> np.ndarray:
    """Returns the ranker's gap, the other's and their difference for each resample (draws x 3)."""
    owner = np.unique(users.astype(str), return_inverse=True)[1]
    # With counts and sums by user, a resample of users is a weighted sum.
    columns = [np.stack([np.ones(len(owner)), *values]) * here for here in within]
    by_user = np.stack([np.bincount(owner, one) for part in columns for one in part], axis=1)
    draw = np.random.default_rng(seed).integers
    sums = np.empty((REPEATS, 6))
    for repeat in range(REPEATS):
        times = np.bincount(draw(0, len(by_user), len(by_user)), minlength=len(by_user))
        sums[repeat] = times @ by_user
    # A resample without a user of one part has no gap.
    sums = sums[(sums[:, 0] > 0) & (sums[:, 3] > 0)]
    gaps_by_model = sums[:, 1:3] / sums[:, :1] - sums[:, 4:] / sums[:, 3:4]
    widened = gaps_by_model[:, 0] - gaps_by_model[:, 1]
    return np.column_stack([gaps_by_model, widened])
