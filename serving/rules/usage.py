"""Rules that need the ledger: usage caps, budgets and frequency caps.

Each rule is a predicate: it returns one bool a candidate row, true where the coupon must go.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from serving.candidates.unstated import NO_LIMIT
from serving.rules.context import RuleContext

LEDGER_LIMITS = (
    "total_limit",
    "campaign_budget",
    "user_budget",
    "period_limit",
    "impression_limit",
)
"""Terms that only the ledger can check."""

REDEMPTION_LIMITS = (*LEDGER_LIMITS, "per_user_limit")
"""Limits for which the ledger holds the redemptions of a coupon."""


def usage_cap(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the user has redeemed the coupon as often as one user may.

    The larger of two counts is used: the ledger's and that of the online features. Either can be
    behind. The features may still have a redemption that the ledger knows to be taken back.
    """
    limit = context.index.terms.per_user_limit
    in_ledger = Counter(coupon_id for coupon_id, _ in context.usage.redeemed)
    back = Counter(context.usage.taken_back)
    counts = {
        key: max(in_ledger[key], context.redeemed.get(key, 0) - back[key])
        for key in in_ledger.keys() | back.keys()
    }
    return _by_row(context, {**context.redeemed, **counts})[rows] >= limit[rows]


def usage_cap_period(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the user has redeemed the coupon as often as one user may within its period."""
    terms = context.index.terms
    used = _counts_in_period(context, context.usage.redeemed, terms.period)
    return used[rows] >= terms.period_limit[rows]


def frequency_cap(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the user was shown the coupon as often as allowed within its period."""
    terms = context.index.terms
    seen = _counts_in_period(context, context.usage.seen, terms.impression_period)
    return seen[rows] >= terms.impression_limit[rows]


def usage_cap_total(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where all users together have redeemed or reserved the coupon as often as allowed.

    This user's own reservation does not count.
    """
    index, usage = context.index, context.usage
    own = _by_row(context, dict.fromkeys(usage.held, 1))[rows]
    return _by_id(usage.uses, index.coupon_id[rows]) - own >= index.terms.total_limit[rows]


def campaign_budget(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the rest of the campaign's budget does not pay for one use of the coupon."""
    budget = context.index.terms.campaign_budget[rows]
    return _is_over_budget(context, rows, context.usage.spent, budget)


def user_budget(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the rest of the campaign's budget for this user does not pay for one use."""
    budget = context.index.terms.user_budget[rows]
    return _is_over_budget(context, rows, context.usage.spent_on_user, budget)


def _is_over_budget(
    context: RuleContext, rows: np.ndarray, spent: Mapping[str, int], budget: np.ndarray
) -> np.ndarray:
    """True where one more use would exceed the budget; a use costs at least one minor unit."""
    held = {coupon_id: amount for coupon_id, (_, amount) in context.usage.held.items()}
    others = _by_id(spent, context.index.campaign_id[rows]) - _by_row(context, held)[rows]
    return others + np.maximum(context.coverage.costs[rows], 1) > budget


def _by_id(counts: Mapping[str, int], ids: np.ndarray) -> np.ndarray:
    """Arranges counts by id as one int64 for each of ``ids``, 0 without a count."""
    return np.array([counts.get(one, 0) for one in ids.tolist()], dtype=np.int64)


def _by_row(context: RuleContext, counts: Mapping[str, float]) -> np.ndarray:
    """Arranges counts by coupon id as one int64 an index row, 0 without a count."""
    out = np.zeros(len(context.index), dtype=np.int64)
    for coupon_id, count in counts.items():
        row = context.index.row_of.get(coupon_id)
        if row is not None:
            out[row] = count
    return out


def _counts_in_period(
    context: RuleContext, events: Sequence[tuple[str, int]], period: np.ndarray
) -> np.ndarray:
    """Counts the events of each coupon within its period: one value an index row.

    Also counts events up to one period in the future: the clock may have been set back.
    """
    row_of = context.index.row_of
    pairs = [(row_of[one], at) for one, at in events if one in row_of]
    rows, instants = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    recent = rows[np.abs(instants - context.as_of) < period[rows]]
    return np.bincount(recent, minlength=len(context.index))


def has_ledger_limit(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon has a limit that only the ledger can check."""
    terms = context.index.terms
    return np.any([getattr(terms, name)[rows] < NO_LIMIT for name in LEDGER_LIMITS], axis=0)
