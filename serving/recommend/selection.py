"""Which of the ranked coupons are shown together, and with which probability.

One of each exclusivity group, so many of a department, and only what can still be reserved.
What can no longer be reserved, because another request was faster, makes room for the next best.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.candidates.offers import NO_LIMIT
from serving.candidates.terms import NO_GROUP
from serving.errors import StorageFailed
from serving.ledger.ledger import Claim, Ledger
from serving.policy.exploration import Draw, Quota, chance_of
from serving.policy.order import certain
from serving.policy.policies import Policy
from serving.rules.context import RuleContext
from serving.rules.filter import EXCLUSIVITY, UNKNOWN
from serving.rules.usage import LIMITED

log = logging.getLogger(__name__)

DEPARTMENT = "department"
_RESERVED = ("total_limit", "campaign_budget", "user_budget")


@dataclass(frozen=True)
class Choice:
    """How many coupons to choose, and by which policy.

    ``departments`` has a number for the department of each index row, -1 for none. ``names`` are
    what chance depends on, where the policy leaves something to it.
    """

    k: int
    policy: Policy = Policy()
    departments: np.ndarray | None = None
    names: tuple[object, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Places in what was ranked of the coupons to show, in order, and the propensity of each.

    ``removed`` counts those that are not shown although they ranked high enough, by rule.
    """

    places: np.ndarray
    propensities: np.ndarray
    removed: dict[str, int]


def select(
    context: RuleContext, ranked: np.ndarray, scores: np.ndarray, choice: Choice, ledger: Ledger
) -> Selection:
    """Choose among ``ranked``, index rows with the best first; ``scores`` are theirs.

    What is shown and has a limit is claimed.
    """
    if choice.policy.is_plain:
        places, removed = _best(context, ranked, choice.k, ledger)
        return Selection(places, certain(len(places)), _named(removed))
    quotas = _quotas(context, ranked, choice)
    draw = Draw(choice.policy, scores, chance_of(*choice.names), quotas)
    return _drawn(context, ranked, draw, choice.k, ledger)


def _drawn(
    context: RuleContext, ranked: np.ndarray, draw: Draw, k: int, ledger: Ledger
) -> Selection:
    drawn, shown, removed = [], [], Counter()
    while sum(shown) < k and len(batch := draw.take(k - sum(shown))):
        kept, failed = _claimed(context, ranked[batch], ledger)
        drawn += batch.tolist()
        shown += kept
        removed.update(failed.values())
    # What was refused had its turn too.
    places, stays = np.array(drawn, dtype=np.int64), np.array(shown, dtype=bool)
    return Selection(places[stays], draw.propensities()[stays], _named(removed + draw.closed))


def _quotas(context: RuleContext, ranked: np.ndarray, choice: Choice) -> list[Quota]:
    terms, limit, quotas = context.index.terms, choice.policy.department_limit, []
    if "group" in terms.stated:
        quotas.append(Quota(terms.group[ranked], 1, EXCLUSIVITY))
    if limit is not None and choice.departments is not None:
        quotas.append(Quota(choice.departments[ranked], limit, DEPARTMENT))
    return quotas


def _best(
    context: RuleContext, ranked: np.ndarray, k: int, ledger: Ledger
) -> tuple[np.ndarray, Counter[str]]:
    """Places of the ``k`` best, and how many were removed by what."""
    terms = context.index.terms
    is_free = terms.stated.isdisjoint(LIMITED)
    groups = terms.group[ranked] if "group" in terms.stated else None
    left, shown, removed = np.arange(len(ranked)), [], Counter()
    while True:
        # A coupon that was refused is not the best of its group any more.
        best = left if groups is None else left[best_of_groups(groups[left])]
        removed[EXCLUSIVITY] = len(left) - len(best)
        if is_free:
            return best[:k], removed
        batch = best[~np.isin(best, shown)][: k - len(shown)]
        kept, failed = _claimed(context, ranked[batch], ledger)
        shown += batch[np.array(kept, dtype=bool)].tolist()
        if all(kept):
            return np.sort(np.array(shown, dtype=np.int64)), removed
        removed.update(failed.values())
        left = left[~np.isin(left, batch[~np.array(kept)])]


def _claimed(
    context: RuleContext, rows: np.ndarray, ledger: Ledger
) -> tuple[list[bool], dict[str, str]]:
    """Whether each row may be shown now that it was claimed, and why the others may not."""
    if context.index.terms.stated.isdisjoint(LIMITED):
        return [True] * len(rows), {}
    failed = _claim(context, rows, ledger)
    return [one not in failed for one in context.index.coupon_id[rows]], failed


def best_of_groups(groups: np.ndarray) -> np.ndarray:
    """Which rows, best first, are the first of their group or in none."""
    first = np.zeros(len(groups), dtype=bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first | (groups == NO_GROUP)


def _named(removed: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in removed.items() if count}


def _claim(context: RuleContext, rows: np.ndarray, ledger: Ledger) -> dict[str, str]:
    """The coupons that cannot be shown after all, each with the rule that it fails by."""
    claims = _claims(context, rows)
    if not claims:
        return {}
    try:
        return ledger.claim(context.user_id, claims, context.as_of)
    except StorageFailed as error:
        log.warning("%s", error)
        return {claim.coupon_id: UNKNOWN for claim in claims}


def _claims(context: RuleContext, rows: np.ndarray) -> Sequence[Claim]:
    """What showing the rows takes; nothing for a coupon without such limits."""
    index, terms = context.index, context.index.terms
    claims = []
    for row, cost in zip(rows.tolist(), context.coverage.costs[rows].tolist(), strict=True):
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
                    impression_limit=int(terms.impression_limit[row]),
                    impression_period=period,
                    **limits,
                )
            )
    return claims
