"""Novelty and diversity of ranked lists; they do not depend on redemptions.

One value for each group; NaN for a list that is too short for the metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.group_metrics import Ranked, mean

if TYPE_CHECKING:
    from training.data.purchase_matrix import PurchaseMatrix


@dataclass(frozen=True)
class Catalog:
    """The number of users, and the similarity of all pairs of coupons.

    ``similarity`` (c x c) is the cosine of two coupons' scopes: 1 for the same products, 0 for no
    common product. ``rows`` maps coupon ids to its rows. A coupon without a scope has similarity 0.
    """

    users: int
    rows: Mapping[str, int]
    similarity: np.ndarray


def catalog_of(purchases: "PurchaseMatrix", users: int) -> Catalog:
    """Builds the catalog of all coupons with a scope."""
    from sklearn.preprocessing import normalize

    scope = normalize(purchases.scope)
    return Catalog(users, purchases.coupons, (scope @ scope.T).toarray())


def novelty(ranking: Ranked, buyers: np.ndarray, users: int, k: int) -> np.ndarray:
    """Mean self-information of the first k coupons, in bits: -log2((1 + buyers) / (1 + users)).

    ``buyers`` has for each pair the number of users who had bought a covered product (Castells,
    Vargas and Wang 2011). The added 1 makes the value finite for a coupon without buyers.

    >>> from training.evaluation.group_metrics import ranked
    >>> ranking = ranked(["q", "q"], ["a", "b"], [0, 0], [2, 1])
    >>> novelty(ranking, buyers=np.array([7, 1]), users=7, k=2).tolist()
    [1.0]
    """
    first = ranking.rank <= k
    share = (1 + np.minimum(buyers, users)[ranking.order[first]]) / (1 + users)
    group, count = ranking.group[first], len(ranking.positives)
    total = np.bincount(group, -np.log2(share), minlength=count)
    return total / np.bincount(group, minlength=count)


def diversity(
    ranking: Ranked, coupon_id: Sequence[str] | np.ndarray, catalog: Catalog, k: int
) -> np.ndarray:
    """1 minus the mean similarity of all pairs among the first k coupons (Ziegler et al. 2005).

    >>> from training.evaluation.group_metrics import ranked
    >>> catalog = Catalog(9, {"a": 0, "b": 1}, np.array([[1.0, 0.25], [0.25, 1.0]]))
    >>> diversity(ranked(["q", "q"], ["a", "b"], [0, 0], [2, 1]), ["a", "b"], catalog, k=2).tolist()
    [0.75]
    """
    codes = np.array([catalog.rows.get(one, -1) for one in coupon_id])
    first = np.flatnonzero(ranking.rank <= k)
    ends = np.searchsorted(ranking.group[first], np.arange(len(ranking.positives) + 1))
    values = np.full(len(ranking.positives), np.nan)
    for group, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        if end - start > 1:
            in_list = codes[ranking.order[first[start:end]]]
            values[group] = 1 - _mean_similarity(in_list, catalog.similarity)
    return values


def _mean_similarity(codes: np.ndarray, similarity: np.ndarray) -> float:
    """Returns the mean over all pairs of different positions; code -1 is similar to no coupon."""
    count, known = len(codes), codes[codes >= 0]
    block = similarity[np.ix_(known, known)]
    return float((block.sum() - np.trace(block)) / (count * (count - 1)))


def list_metrics(
    ranking: Ranked,
    coupon_id: Sequence[str] | np.ndarray,
    buyers: np.ndarray,
    catalog: Catalog,
    cutoffs: Sequence[int],
) -> dict[str, float]:
    """Returns ``novelty@k`` and ``diversity@k`` by name: means over all groups with a value."""
    out = {f"novelty@{k}": mean(novelty(ranking, buyers, catalog.users, k)) for k in cutoffs}
    longer = [k for k in cutoffs if k > 1]
    return out | {f"diversity@{k}": mean(diversity(ranking, coupon_id, catalog, k)) for k in longer}
