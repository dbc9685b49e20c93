"""Rules that need the ledger: caps, budgets and frequency."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from serving.candidates.unstated import NO_LIMIT
from serving.rules.context import RuleContext

LIMITED = ("total_limit", "campaign_budget", "user_budget", "period_limit", "impression_limit")
"""Terms that only the ledger can tell to be kept."""


def usage_cap(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The user has used the coupon as often as one user may."""
    limit = context.index.terms.per_user_limit
    known = Counter(coupon_id for coupon_id, _ in context.usage.redeemed)
    counts = {key: max(known[key], context.redeemed.get(key, 0)) for key in known}
    return _counted(context, {**context.redeemed, **counts})[rows] >= limit[rows]


def usage_cap_period(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The user has used the coupon as often as one user may within its period."""
    terms = context.index.terms
    used = _within(context, context.usage.redeemed, terms.period)
    return used[rows] >= terms.period_limit[rows]


def frequency_cap(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The user was shown the coupon as often as is allowed within its period."""
    terms = context.index.terms
    seen = _within(context, context.usage.seen, terms.impression_period)
    return seen[rows] >= terms.impression_limit[rows]


def usage_cap_total(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """All users together have used, or hold in reserve, as many as there are."""
    index, usage = context.index, context.usage
    own = _counted(context, dict.fromkeys(usage.held, 1))[rows]
    return _listed(usage.uses, index.coupon_id[rows]) - own >= index.terms.total_limit[rows]


def campaign_budget(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """What is left of the campaign's budget does not pay for the coupon."""
    budget = context.index.terms.campaign_budget[rows]
    return _over(context, rows, context.usage.spent, budget)


def user_budget(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """What is left of the campaign's budget for this user does not pay for the coupon."""
    budget = context.index.terms.user_budget[rows]
    return _over(context, rows, context.usage.spent_on_user, budget)


def _over(
    context: RuleContext, rows: np.ndarray, spent: Mapping[str, int], budget: np.ndarray
) -> np.ndarray:
    """Whether one more use would spend more than the budget; it costs at least one minor unit."""
    held = {coupon_id: amount for coupon_id, (_, amount) in context.usage.held.items()}
    others = _listed(spent, context.index.campaign_id[rows]) - _counted(context, held)[rows]
    return others + np.maximum(context.coverage.costs[rows], 1) > budget


def _listed(counts: Mapping[str, int], ids: np.ndarray) -> np.ndarray:
    return np.array([counts.get(one, 0) for one in ids.tolist()], dtype=np.int64)


def _counted(context: RuleContext, counts: Mapping[str, float]) -> np.ndarray:
    """Counts by coupon id as one value an index row."""
    out = np.zeros(len(context.index), dtype=np.int64)
    for coupon_id, count in counts.items():
        row = context.index.row_of.get(coupon_id)
        if row is not None:
            out[row] = count
    return out


def _within(
    context: RuleContext, happened: Sequence[tuple[str, int]], period: np.ndarray
) -> np.ndarray:
    """How often it happened with each coupon within its period, one value an index row.

    Less than a period later is within it too: then the clock was set back meanwhile.
    """
    row_of = context.index.row_of
    pairs = [(row_of[one], at) for one, at in happened if one in row_of]
    rows, instants = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    recent = rows[np.abs(instants - context.as_of) < period[rows]]
    return np.bincount(recent, minlength=len(context.index))


def limited(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The coupon has a limit that only the ledger can tell to be kept."""
    terms = context.index.terms
    return np.any([getattr(terms, name)[rows] < NO_LIMIT for name in LIMITED], axis=0)
