"""What a list is like whatever was redeemed: how unexpected its coupons are, and how different.

One value a group, for all groups; NaN where a list is too short to have one.
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
    """How many users there are, and how alike coupons are: ``alike`` (c x c) by ``rows``.

    Two coupons are alike by the cosine of their scopes, 1 for the same products, 0 for no common
    one. A coupon without a scope is like no other.
    """

    users: int
    rows: Mapping[str, int]
    alike: np.ndarray


def catalog_of(known: "PurchaseMatrix", users: int) -> Catalog:
    """The catalog of all coupons whose scope is known."""
    from sklearn.preprocessing import normalize

    scope = normalize(known.scope)
    return Catalog(users, known.coupons, (scope @ scope.T).toarray())


def novelty(ranking: Ranked, buyers: np.ndarray, users: int, k: int) -> np.ndarray:
    """Mean self-information, in bits, of the first k: -log2((1 + buyers) / (1 + users)).

    ``buyers`` says for each pair how many users had bought a covered product before (Castells,
    Vargas and Wang 2011, with 1 added so that a coupon for what nobody bought has a value).
    """
    first = ranking.rank <= k
    share = (1 + np.minimum(buyers, users)[ranking.order[first]]) / (1 + users)
    group, count = ranking.group[first], len(ranking.positives)
    total = np.bincount(group, -np.log2(share), minlength=count)
    return total / np.bincount(group, minlength=count)


def diversity(ranking: Ranked, coupon_id: Sequence[str], catalog: Catalog, k: int) -> np.ndarray:
    """1 minus the mean likeness of all pairs of coupons among the first k (Ziegler et al. 2005)."""
    codes = np.array([catalog.rows.get(one, -1) for one in coupon_id])
    first = np.flatnonzero(ranking.rank <= k)
    ends = np.searchsorted(ranking.group[first], np.arange(len(ranking.positives) + 1))
    values = np.full(len(ranking.positives), np.nan)
    for group, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        if end - start > 1:
            values[group] = 1 - _likeness(codes[ranking.order[first[start:end]]], catalog.alike)
    return values


def _likeness(codes: np.ndarray, alike: np.ndarray) -> float:
    """The mean over all pairs of different places."""
    count, known = len(codes), codes[codes >= 0]
    block = alike[np.ix_(known, known)]
    return float((block.sum() - np.trace(block)) / (count * (count - 1)))


def list_metrics(
    ranking: Ranked,
    coupon_id: Sequence[str],
    buyers: np.ndarray,
    catalog: Catalog,
    cutoffs: Sequence[int],
) -> dict[str, float]:
    """``novelty@k`` and ``diversity@k``, means over all groups that have one."""
    out = {f"novelty@{k}": mean(novelty(ranking, buyers, catalog.users, k)) for k in cutoffs}
    longer = [k for k in cutoffs if k > 1]
    return out | {f"diversity@{k}": mean(diversity(ranking, coupon_id, catalog, k)) for k in longer}
