"""Selects the coupons to show from the ranked ones, with the probability of each.

At most one of an exclusivity group, at most the limit of a department, and only coupons that the
ledger can still reserve. A coupon that another request reserved first gives way to the next best.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serving.candidates.index import CandidateIndex
from serving.candidates.unstated import NO_LIMIT, UNSTATED
from serving.errors import StorageFailed
from serving.ledger.ledger import Claim, Ledger
from serving.policy.exploration import ListSampler, Quota, uniform_from
from serving.policy.order import certain_propensities
from serving.policy.policies import Policies, Policy
from serving.recommend.candidate_set import CandidateSet
from serving.rules.context import RuleContext
from serving.rules.filter import EXCLUSIVITY, LIMITS_UNKNOWN
from serving.rules.usage import LEDGER_LIMITS
from serving.schemas.recommendation import RecommendationRequest

log = logging.getLogger(__name__)

DEPARTMENT = "department"
_RESERVED = ("total_limit", "campaign_budget", "user_budget")


DepartmentLabels = Callable[[CandidateIndex], np.ndarray]
"""Gives the department of each index row as a number, -1 for none."""


@dataclass(frozen=True)
class Choice:
    """The number of coupons to show, and the policy that chooses them.

    ``departments`` labels each index row. ``names`` seed the random draw of an exploring policy.
    """

    k: int
    policy: Policy = Policy()
    departments: np.ndarray | None = None
    names: tuple[object, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The coupons to show, in order, as places in the ranked ones, each with its propensity.

    ``removed`` counts, by rule, those that ranked high enough and are not shown.
    """

    places: np.ndarray
    propensities: np.ndarray
    removed: dict[str, int]


def choice_for(
    request: RecommendationRequest,
    request_id: str,
    candidates: CandidateSet,
    policies: Policies,
    departments: DepartmentLabels | None,
) -> Choice:
    """Builds the choice of a request from the policy of its placement.

    The draw depends on the request's id, the user and the instant, so that it can be repeated.
    """
    policy = policies.policy_for(request.placement)
    if policy.is_plain:
        return Choice(request.k, policy)
    labels = None if departments is None else departments(candidates.index)
    names = (request_id, request.user_id, candidates.context.as_of)
    return Choice(request.k, policy, labels, names)


def select(
    context: RuleContext, ranked: np.ndarray, scores: np.ndarray, choice: Choice, ledger: Ledger
) -> Selection:
    """Selects among ``ranked``, index rows with the best first; ``scores`` are theirs.

    Claims the selected coupons that have a limit in the ledger.
    """
    if choice.policy.is_plain:
        places, removed = _best(context, ranked, choice.k, ledger)
        return Selection(places, certain_propensities(len(places)), _named(removed))
    quotas = _quotas(context, ranked, choice)
    sampler = ListSampler(choice.policy, scores, uniform_from(*choice.names), quotas)
    return _drawn(context, ranked, sampler, choice.k, ledger)


def _drawn(
    context: RuleContext, ranked: np.ndarray, sampler: ListSampler, k: int, ledger: Ledger
) -> Selection:
    drawn: list[int] = []
    shown: list[bool] = []
    removed: Counter[str] = Counter()
    while sum(shown) < k and len(batch := sampler.draw(k - sum(shown))):
        kept, failed = _claimed(context, ranked[batch], ledger)
        drawn += batch.tolist()
        shown += kept
        removed.update(failed.values())
    # A claim the ledger refused still uses its draw, so propensities stay exact.
    places, stays = np.array(drawn, dtype=np.int64), np.array(shown, dtype=bool)
    return Selection(places[stays], sampler.propensities()[stays], _named(removed + sampler.closed))


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
    """The places of the ``k`` best, and the removed ones by rule."""
    terms = context.index.terms
    is_free = terms.stated.isdisjoint(LEDGER_LIMITS)
    groups = terms.group[ranked] if "group" in terms.stated else None
    left, removed = np.arange(len(ranked)), Counter[str]()
    shown: list[int] = []
    while True:
        # A refused coupon is removed from ``left``, so another of its group can be the best.
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
    """Claims the rows: true for each that may be shown, and the failed rule of the others."""
    if context.index.terms.stated.isdisjoint(LEDGER_LIMITS):
        return [True] * len(rows), {}
    failed = _claim(context, rows, ledger)
    return [one not in failed for one in context.index.coupon_id[rows]], failed


def best_of_groups(groups: np.ndarray) -> np.ndarray:
    """True for the rows, best first, that lead their group or are in none."""
    first = np.zeros(len(groups), dtype=bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first | (groups == UNSTATED)


def _named(removed: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in removed.items() if count}


def _claim(context: RuleContext, rows: np.ndarray, ledger: Ledger) -> dict[str, str]:
    """Claims the rows in the ledger. The result maps refused coupons to the failed rule."""
    claims = _claims(context, rows)
    if not claims:
        return {}
    try:
        return ledger.claim(context.user_id, claims, context.as_of, context.holder)
    except StorageFailed as error:
        log.warning("%s", error)
        return {claim.coupon_id: LIMITS_UNKNOWN for claim in claims}


def _claims(context: RuleContext, rows: np.ndarray) -> Sequence[Claim]:
    """The claims of the rows; a coupon without a limit in the ledger needs none."""
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
