"""What a ranking is worth: one function a metric, one value a group.

The gain of a coupon is 1 if it was redeemed, else 0. Rank 1 is the highest score; equal scores
are ordered by ``tie_break``. A group without a redeemed coupon has no value (NaN) and does not
count in a mean. With ``hits(k)`` the redeemed coupons among the first ``k`` and ``P`` all redeemed
ones of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.transforms.tie_break import tie_break
from training.data.frame import group_sizes, group_starts

CUTOFFS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Ranked:
    """``n`` pairs of ``g`` groups, each group in the order of its ranking.

    ``order`` gives the rows of the frame, ``group`` the number of the group, ``rank`` counts from
    1 within it, ``label`` is 0 or 1, ``positives`` has one count a group.
    """

    order: np.ndarray
    group: np.ndarray
    rank: np.ndarray
    label: np.ndarray
    positives: np.ndarray


def ranked(
    qid: np.ndarray, coupon_id: Sequence[str], label: np.ndarray, score: np.ndarray
) -> Ranked:
    """Order the pairs of every group by falling score.

    Rows of a qid stand together. Raises ValueError for a score that is not a number.
    """
    scores = np.asarray(score, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected a score for every pair, got {int(np.isnan(scores).sum())} that are not "
            "numbers: look at the model's inputs."
        )
    starts = group_starts(qid)
    sizes = group_sizes(starts, len(qid))
    group = np.repeat(np.arange(len(starts)), sizes)
    order = np.lexsort((~tie_break(coupon_id), -scores, group))
    rank = np.arange(len(qid)) - np.repeat(starts, sizes) + 1
    gain = (np.asarray(label)[order] > 0).astype(np.int64)
    positives = np.bincount(group[gain > 0], minlength=len(starts))
    return Ranked(order, group, rank, gain, positives)


def ndcg(ranking: Ranked, k: int) -> np.ndarray:
    """Sum of 1 / log2(rank + 1) over hits(k), as a part of the same sum for a perfect ranking."""
    hit = _hit(ranking, k)
    gained = _sum(ranking.group[hit], 1 / np.log2(ranking.rank[hit] + 1), len(ranking.positives))
    best = np.cumsum(np.append(0.0, 1 / np.log2(np.arange(1, k + 1) + 1)))
    return _part(gained, best[np.minimum(ranking.positives, k)])


def average_precision(ranking: Ranked, k: int) -> np.ndarray:
    """Sum of precision@rank over the ranks of hits(k), divided by min(k, P); its mean is MAP."""
    hit = _hit(ranking, k)
    group = ranking.group[hit]
    found = np.arange(len(hit)) - np.searchsorted(group, group) + 1
    precise = _sum(group, found / ranking.rank[hit], len(ranking.positives))
    return _part(precise, np.minimum(ranking.positives, k))


def reciprocal_rank(ranking: Ranked) -> np.ndarray:
    """1 / rank of the first redeemed coupon in the whole list; its mean is MRR."""
    best = np.zeros(len(ranking.positives))
    hit = ranking.label > 0
    np.maximum.at(best, ranking.group[hit], 1 / ranking.rank[hit])
    return np.where(ranking.positives > 0, best, np.nan)


def precision(ranking: Ranked, k: int) -> np.ndarray:
    """hits(k) / k, also where the group has fewer than k candidates."""
    return np.where(ranking.positives > 0, _hits(ranking, k) / k, np.nan)


def recall(ranking: Ranked, k: int) -> np.ndarray:
    """hits(k) / P."""
    return _part(_hits(ranking, k), ranking.positives)


def f1(ranking: Ranked, k: int) -> np.ndarray:
    """2 x precision x recall / (precision + recall) of the group; 0 without a hit."""
    hits = _hits(ranking, k)
    # Put in, the two ratios shorten to this, which cannot divide by zero.
    return np.where(ranking.positives > 0, 2 * hits / (k + ranking.positives), np.nan)


def hit_rate(ranking: Ranked, k: int) -> np.ndarray:
    """1 if hits(k) is not empty, else 0."""
    return np.where(ranking.positives > 0, (_hits(ranking, k) > 0).astype(np.float64), np.nan)


def coverage(ranking: Ranked, coupon_id: np.ndarray, k: int) -> float:
    """Distinct coupons among the first k of any group, as a part of all distinct candidates.

    All groups count, also those without a redeemed coupon.
    """
    shown = coupon_id[ranking.order[ranking.rank <= k]]
    return len(set(shown)) / len(set(coupon_id)) if len(coupon_id) else float("nan")


def mean(values: np.ndarray) -> float:
    """Mean over the groups that have a value; NaN if none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


_AT_K = {
    "ndcg": ndcg,
    "map": average_precision,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "hit_rate": hit_rate,
}


def metric_names(cutoffs: Sequence[int] = CUTOFFS) -> tuple[str, ...]:
    """The names in a table of metrics, in order: ``ndcg@1`` to ``coverage@20``."""
    at = tuple(f"{name}@{k}" for name in _AT_K for k in cutoffs)
    return (*at, "mrr", *(f"coverage@{k}" for k in cutoffs))


def all_metrics(
    ranking: Ranked, coupon_id: np.ndarray, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """Every metric by its name: means over groups, and the coverage of the catalogue."""
    out = {
        f"{name}@{k}": mean(metric(ranking, k)) for name, metric in _AT_K.items() for k in cutoffs
    }
    out["mrr"] = mean(reciprocal_rank(ranking))
    return out | {f"coverage@{k}": coverage(ranking, coupon_id, k) for k in cutoffs}


def _hit(ranking: Ranked, k: int) -> np.ndarray:
    return np.flatnonzero((ranking.label > 0) & (ranking.rank <= k))


def _hits(ranking: Ranked, k: int) -> np.ndarray:
    return _sum(ranking.group[_hit(ranking, k)], None, len(ranking.positives))


def _sum(group: np.ndarray, values: np.ndarray | None, group_count: int) -> np.ndarray:
    return np.bincount(group, values, minlength=group_count)


def _part(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    out = np.full(len(whole), np.nan)
    return np.divide(part, whole, out=out, where=whole > 0)
