"""Ranking metrics: one function for each metric, one value for each group.

The gain of a coupon is 1 if it was redeemed, else 0. Rank 1 is the highest score; ``tie_break``
orders equal scores. A group without an order (one candidate, none redeemed, all redeemed) has no
value (NaN) and does not count in a mean. In the definitions, ``hits(k)`` are the redeemed coupons
among the first ``k``, and ``P`` is the number of redeemed coupons of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from feature_repo.transforms.tie_break import tie_break
from training.data.frame import group_sizes, group_starts
from training.evaluation.orders import has_order

CUTOFFS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Ranked:
    """``n`` pairs of ``g`` groups, sorted by group, then by rank.

    ``order`` has the rows of the frame, ``group`` the number of the group. ``rank`` counts from 1
    within the group. ``label`` is 0 or 1. ``sizes`` has the candidates of each group, ``positives``
    its redeemed coupons.
    """

    order: np.ndarray
    group: np.ndarray
    rank: np.ndarray
    label: np.ndarray
    sizes: np.ndarray
    positives: np.ndarray

    @property
    def has_order(self) -> np.ndarray:
        """A mask of the groups with redeemed and unredeemed candidates."""
        return has_order(self.sizes, self.positives)


def ranked(
    qid: Sequence[str] | np.ndarray,
    coupon_id: Sequence[str] | np.ndarray,
    label: Sequence[int] | np.ndarray,
    score: Sequence[float] | np.ndarray,
) -> Ranked:
    """Orders the pairs of every group by falling score.

    The rows of a qid must be consecutive. Raises ValueError for a score that is NaN.

    >>> ranked(["q", "q", "q"], ["a", "b", "c"], [0, 1, 1], [1.0, 3.0, 2.0]).order.tolist()
    [1, 2, 0]
    """
    scores = np.asarray(score, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected a score for every pair, got {int(np.isnan(scores).sum())} that are not "
            "numbers: check the model's inputs."
        )
    starts = group_starts(np.asarray(qid, dtype=object))
    sizes = group_sizes(starts, len(qid))
    group = np.repeat(np.arange(len(starts)), sizes)
    order = np.lexsort((~tie_break(coupon_id), -scores, group))
    rank = np.arange(len(qid)) - np.repeat(starts, sizes) + 1
    nothing = np.zeros(len(qid), np.int64)
    unlabeled = Ranked(order, group, rank, nothing, sizes, np.zeros(len(starts), np.int64))
    return relabeled(unlabeled, label)


def relabeled(ranking: Ranked, label: Sequence[int] | np.ndarray) -> Ranked:
    """Returns the same ranking with other labels, in the order of the frame.

    >>> ranking = ranked(["q", "q"], ["a", "b"], [1, 0], [1.0, 2.0])
    >>> relabeled(ranking, [0, 1]).label.tolist()
    [1, 0]
    """
    gain = (np.asarray(label)[ranking.order] > 0).astype(np.int64)
    positives = np.bincount(ranking.group[gain > 0], minlength=len(ranking.positives))
    return replace(ranking, label=gain, positives=positives)


def ndcg(ranking: Ranked, k: int) -> np.ndarray:
    """Sum of 1 / log2(rank + 1) over hits(k), divided by the same sum for a perfect ranking.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [1, 0, 1], [3, 2, 1])
    >>> ndcg(ranking, 3).round(2).tolist()
    [0.92]
    """
    hit = _hit_rows(ranking, k)
    gained = _sum_by_group(
        ranking.group[hit], 1 / np.log2(ranking.rank[hit] + 1), len(ranking.positives)
    )
    best = np.cumsum(np.append(0.0, 1 / np.log2(np.arange(1, k + 1) + 1)))
    return _ratio(ranking, gained, best[np.minimum(ranking.positives, k)])


def average_precision(ranking: Ranked, k: int) -> np.ndarray:
    """Sum of precision@rank over the ranks of hits(k), divided by min(k, P); its mean is MAP.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [1, 0, 1], [3, 2, 1])
    >>> average_precision(ranking, 3).round(2).tolist()
    [0.83]
    """
    hit = _hit_rows(ranking, k)
    group = ranking.group[hit]
    found = np.arange(len(hit)) - np.searchsorted(group, group) + 1
    total = _sum_by_group(group, found / ranking.rank[hit], len(ranking.positives))
    return _ratio(ranking, total, np.minimum(ranking.positives, k))


def reciprocal_rank(ranking: Ranked) -> np.ndarray:
    """1 / rank of the first redeemed coupon in the whole list; its mean is MRR.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [0, 1, 1], [3, 2, 1])
    >>> reciprocal_rank(ranking).tolist()
    [0.5]
    """
    best = np.zeros(len(ranking.positives))
    hit = ranking.label > 0
    np.maximum.at(best, ranking.group[hit], 1 / ranking.rank[hit])
    return _valued(ranking, best)


def precision(ranking: Ranked, k: int) -> np.ndarray:
    """hits(k) / k, also for a group with fewer than k candidates.

    >>> ranking = ranked(["q", "q"], ["a", "b"], [1, 0], [2, 1])
    >>> precision(ranking, 10).tolist()
    [0.1]
    """
    return _valued(ranking, _hit_counts(ranking, k) / k)


def recall(ranking: Ranked, k: int) -> np.ndarray:
    """hits(k) / P.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [1, 0, 1], [3, 2, 1])
    >>> recall(ranking, 2).tolist()
    [0.5]
    """
    return _ratio(ranking, _hit_counts(ranking, k), ranking.positives)


def f1(ranking: Ranked, k: int) -> np.ndarray:
    """2 x precision x recall / (precision + recall) of the group; 0 without a hit.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [1, 0, 0], [3, 2, 1])
    >>> f1(ranking, 3).tolist()
    [0.5]
    """
    hits = _hit_counts(ranking, k)
    # The same formula, simplified: it cannot divide by zero.
    return _valued(ranking, 2 * hits / (k + ranking.positives))


def hit_rate(ranking: Ranked, k: int) -> np.ndarray:
    """1 if hits(k) is not empty, else 0.

    >>> ranking = ranked(["q", "q", "q"], ["a", "b", "c"], [0, 1, 0], [3, 2, 1])
    >>> [hit_rate(ranking, k).tolist() for k in (1, 2)]
    [[0.0], [1.0]]
    """
    return _valued(ranking, _hit_counts(ranking, k) > 0)


def coverage(ranking: Ranked, coupon_id: np.ndarray, k: int) -> float:
    """Share of all distinct candidates that are among the first k of any group.

    All groups count, also those without an order.

    >>> coupons = np.array(["a", "b", "a", "c"])
    >>> ranking = ranked(["q", "q", "r", "r"], coupons, [0, 0, 0, 0], [2, 1, 2, 1])
    >>> round(coverage(ranking, coupons, 1), 2)
    0.33
    """
    shown = coupon_id[ranking.order[ranking.rank <= k]]
    return len(set(shown)) / len(set(coupon_id)) if len(coupon_id) else float("nan")


def mean(values: np.ndarray) -> float:
    """Mean over the groups with a value; NaN if no group has one.

    >>> mean(np.array([1.0, 0.5, np.nan]))
    0.75
    """
    valued = values[~np.isnan(values)]
    return float(valued.mean()) if len(valued) else float("nan")


_AT_K = {
    "ndcg": ndcg,
    "map": average_precision,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "hit_rate": hit_rate,
}


def all_metrics(
    ranking: Ranked, coupon_id: np.ndarray, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """Returns every metric by its name, ``ndcg@1`` to ``coverage@20``.

    Values are means over groups; coverage is one value for all groups.
    """
    out = {
        f"{name}@{k}": mean(metric(ranking, k)) for name, metric in _AT_K.items() for k in cutoffs
    }
    out["mrr"] = mean(reciprocal_rank(ranking))
    return out | {f"coverage@{k}": coverage(ranking, coupon_id, k) for k in cutoffs}


def _hit_rows(ranking: Ranked, k: int) -> np.ndarray:
    return np.flatnonzero((ranking.label > 0) & (ranking.rank <= k))


def _hit_counts(ranking: Ranked, k: int) -> np.ndarray:
    return _sum_by_group(ranking.group[_hit_rows(ranking, k)], None, len(ranking.positives))


def _sum_by_group(group: np.ndarray, values: np.ndarray | None, group_count: int) -> np.ndarray:
    return np.bincount(group, values, minlength=group_count)


def _ratio(ranking: Ranked, part: np.ndarray, total: np.ndarray) -> np.ndarray:
    out = np.full(len(total), np.nan)
    return np.divide(part, total, out=out, where=ranking.has_order)


def _valued(ranking: Ranked, values: np.ndarray) -> np.ndarray:
    return np.where(ranking.has_order, values, np.nan)
