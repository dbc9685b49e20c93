"""How much of a ranking is chance: what a ranker would score if its own scores were the truth.

A group has a few redeemed coupons among many, so even who knew every probability would rank some
of them low. Here the redeemed coupons of each group are drawn anew, as many as there were, with
odds of exp(scale x score) one after the other (Plackett-Luce: the largest of the log odds with
Gumbel noise), at the scale at which what is drawn has scores as high as what was redeemed. The
ranker's mean over such draws is what it can expect if it is right: more needs to know something
that the scores do not say.
"""

from dataclasses import dataclass

import numpy as np

from training.data.frame import group_sizes, group_starts
from training.evaluation import group_metrics

DRAWS = 20
_FITTED_ON = 5
_SCALES = (0.01, 20.0)


@dataclass(frozen=True)
class Ceiling:
    """The scale that fits, and the mean NDCG and recall at the cutoff over draws at that scale."""

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
    """What the ranker of these scores could expect; arrays have one value a pair, groups together.

    Raises ValueError if nothing was redeemed.
    """
    starts = group_starts(qid)
    sizes = group_sizes(starts, len(qid))
    counts = np.add.reduceat(label.astype(np.int64), starts)
    if not counts.any():
        raise ValueError("Expected redeemed coupons, got none: test on a longer period.")
    some = np.repeat(counts > 0, sizes)
    kept, counts = sizes[counts > 0], counts[counts > 0]
    values = _standardized(scores[some])
    noise = np.random.default_rng(seed).gumbel(size=(DRAWS, len(values)))
    scale = _fitted(values, label[some] > 0, counts, kept, noise[:_FITTED_ON])
    drawn = [_drawn(scale * values + one, counts, kept) for one in noise]
    ranked = [group_metrics.ranked(qid[some], coupon_id[some], one, scores[some]) for one in drawn]
    return Ceiling(
        scale,
        float(np.mean([group_metrics.mean(group_metrics.ndcg(one, cutoff)) for one in ranked])),
        float(np.mean([group_metrics.mean(group_metrics.recall(one, cutoff)) for one in ranked])),
    )


def _standardized(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    spread = values.std()
    return (values - values.mean()) / (spread or 1.0)


def _fitted(
    values: np.ndarray, redeemed: np.ndarray, counts: np.ndarray, sizes: np.ndarray, noise
) -> float:
    """The scale at which draws redeem coupons of as high a score, in the mean, as were redeemed."""
    from scipy.optimize import brentq

    wanted = values[redeemed].mean()

    def beyond(power: float) -> float:
        drawn = (_drawn(np.exp(power) * values + one, counts, sizes) for one in noise)
        return float(np.mean([values[label > 0].mean() for label in drawn]) - wanted)

    low, high = np.log(_SCALES)
    if beyond(low) >= 0:
        return _SCALES[0]
    if beyond(high) <= 0:
        return _SCALES[1]
    return float(np.exp(brentq(beyond, low, high, xtol=0.01)))


def _drawn(noisy: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Labels with so many redeemed coupons a group: those of the largest log odds with noise."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((-noisy, group))
    place = np.arange(len(noisy)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    label = np.zeros(len(noisy), dtype=np.int8)
    label[order] = place < np.repeat(counts, sizes)
    return label
