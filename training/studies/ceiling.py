"""Upper bound of NDCG, by simulation from the model's own scores.

With few positives a group, even true probabilities cannot rank perfectly. The simulation draws the
redeemed coupons of each group again, as many as there were, with odds of exp(scale x score). It
draws them one after the other (Plackett-Luce: the largest log odds plus Gumbel noise). The scale is
fitted so that drawn coupons have the same mean score as the redeemed ones. The mean metric over the
draws is the value that a ranker with true scores would reach. A higher value needs information that
the scores do not contain.
"""

from dataclasses import dataclass

import numpy as np

from training.data.frame import group_sizes, group_starts
from training.evaluation import group_metrics
from training.evaluation.orders import rows_with_order

DRAWS = 20
_FITTED_ON = 5
_SCALES = (0.01, 20.0)


@dataclass(frozen=True)
class Ceiling:
    """The fitted scale, and the mean NDCG and recall at the cutoff over draws at that scale."""

    scale: float
    ndcg: float
    recall: float


def ceiling(
    qid: np.ndarray,
    coupon_id: np.ndarray,
    label: np.ndarray,
    scores: np.ndarray,
    cutoff: int,
    seed: int,
) -> Ceiling:
    """Simulates the metrics that a ranker with these scores would reach if they were true.

    Arrays have one value for each pair; the rows of a group are consecutive. Groups without an
    order are left out. Raises ValueError if no group has one.
    """
    rows = rows_with_order(qid, label)
    if not rows.any():
        raise ValueError(
            "Expected redeemed and unredeemed coupons in some group, got none: test on a longer "
            "period."
        )
    starts = group_starts(qid[rows])
    sizes = group_sizes(starts, int(rows.sum()))
    counts = np.add.reduceat(label[rows].astype(np.int64), starts)
    values = _standardized(scores[rows])
    noise = np.random.default_rng(seed).gumbel(size=(DRAWS, len(values)))
    scale = _fitted_scale(values, label[rows] > 0, counts, sizes, noise[:_FITTED_ON])
    ranking = group_metrics.ranked(qid[rows], coupon_id[rows], label[rows], scores[rows])
    drawn = [_drawn_labels(scale * values + one, counts, sizes) for one in noise]
    ranked = [group_metrics.relabeled(ranking, labels) for labels in drawn]
    return Ceiling(
        scale,
        float(np.mean([group_metrics.mean(group_metrics.ndcg(one, cutoff)) for one in ranked])),
        float(np.mean([group_metrics.mean(group_metrics.recall(one, cutoff)) for one in ranked])),
    )


def _standardized(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    spread = values.std()
    return (values - values.mean()) / (spread or 1.0)


def _fitted_scale(
    values: np.ndarray,
    redeemed: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    noise: np.ndarray,
) -> float:
    """Finds the scale at which drawn coupons have the mean score of the redeemed ones."""
    from scipy.optimize import brentq

    wanted = values[redeemed].mean()

    def excess(log_scale: float) -> float:
        drawn = (_drawn_labels(np.exp(log_scale) * values + one, counts, sizes) for one in noise)
        return float(np.mean([values[label > 0].mean() for label in drawn]) - wanted)

    low, high = np.log(_SCALES)
    if excess(low) >= 0:
        return _SCALES[0]
    if excess(high) <= 0:
        return _SCALES[1]
    return float(np.exp(brentq(excess, low, high, xtol=0.01)))


def _drawn_labels(noisy: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Labels the ``counts`` coupons of each group with the largest noisy log odds."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((-noisy, group))
    place = np.arange(len(noisy)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    label = np.zeros(len(noisy), dtype=np.int8)
    label[order] = place < np.repeat(counts, sizes)
    return label
