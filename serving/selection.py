"""Which of the ranked coupons are shown: one of each exclusivity group, and what can be reserved.

What can no longer be reserved, because another request was faster, makes room for the next best.
"""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from serving.errors import StorageFailed
from serving.ledger import Claim, Ledger
from serving.quotes import NO_LIMIT
from serving.rules import EXCLUSIVITY, LIMITED, UNKNOWN, Situation
from serving.terms import NO_GROUP

log = logging.getLogger(__name__)

_RESERVED = ("total_limit", "campaign_budget", "user_budget")


def select(
    situation: Situation, ranked: np.ndarray, k: int, ledger: Ledger
) -> tuple[np.ndarray, dict[str, int]]:
    """Places in ``ranked``, index rows with the best first, of the ``k`` to show.

    Also gives how many were removed and by what. What is shown and has a limit is claimed.
    """
    terms = situation.index.terms
    places, removed = np.arange(len(ranked)), Counter()
    if "group" in terms.stated:
        best = best_of_groups(terms.group[ranked])
        places = places[best]
        removed[EXCLUSIVITY] = len(ranked) - len(places)
    if terms.stated.isdisjoint(LIMITED):
        return places[:k], _named(removed)
    shown: list[int] = []
    while len(shown) < k and len(places):
        batch, places = np.split(places, [k - len(shown)])
        failed = _claim(situation, ranked[batch], ledger)
        removed.update(failed.values())
        ids = situation.index.coupon_id[ranked[batch]]
        shown += [p for p, one in zip(batch.tolist(), ids, strict=True) if one not in failed]
    return np.array(shown, dtype=np.int64), _named(removed)


def best_of_groups(groups: np.ndarray) -> np.ndarray:
    """Which rows, best first, are the first of their group or in none."""
    first = np.zeros(len(groups), dtype=bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first | (groups == NO_GROUP)


def _named(removed: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in removed.items() if count}


def _claim(situation: Situation, rows: np.ndarray, ledger: Ledger) -> dict[str, str]:
    """The coupons that cannot be shown after all, each with the rule that it fails by."""
    claims = _claims(situation, rows)
    if not claims:
        return {}
    try:
        return ledger.claim(situation.user_id, claims, situation.as_of)
    except StorageFailed as error:
        log.warning("%s", error)
        return {claim.coupon_id: UNKNOWN for claim in claims}


def _claims(situation: Situation, rows: np.ndarray) -> Sequence[Claim]:
    """What showing the rows takes; nothing for a coupon without such limits."""
    index, terms = situation.index, situation.index.terms
    claims = []
    for row, cost in zip(rows.tolist(), situation.coverage.costs[rows].tolist(), strict=True):
        limits = {name: int(getattr(terms, name)[row]) for name in _RESERVED}
        reserved = min(limits.values()) < NO_LIMIT
        period = int(terms.impression_period[row])
        if reserved or period:
            claims.append(
                Claim(
                    coupon_id=index.coupon_id[row],
                    campaign_id=index.campaign_id[row],
                    cost=cost,
                    reserved=reserved,
                    impression_period=period,
                    **limits,
                )
            )
    return claims
