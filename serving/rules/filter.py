"""Applies the rules to candidates, in order, before they are scored.

A rule is a function of the context. It returns one bool a candidate row, true where the coupon must
go. A new rule is one function and one line in ``RULES`` or, if it needs the ledger,
``USAGE_RULES``. A rule is skipped while no coupon has the terms that it ``needs``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from serving.candidates.index import CandidateIndex
from serving.errors import StorageFailed
from serving.ledger.ledger import CAMPAIGN, FREQUENCY, TOTAL, USER_BUDGET, Ledger, Usage
from serving.rules.context import RuleContext
from serving.rules.eligibility import (
    coupon_unknown,
    expired,
    in_holdout,
    max_discount,
    min_margin,
    min_spend,
    not_yet_valid,
    placement,
    product_scope,
    redeemed,
    redemption_unknown,
    scope_unknown,
    stock,
    terms_unknown,
)
from serving.rules.usage import (
    LEDGER_LIMITS,
    campaign_budget,
    frequency_cap,
    has_ledger_limit,
    usage_cap,
    usage_cap_period,
    usage_cap_total,
    user_budget,
)

log = logging.getLogger(__name__)

AUDIENCE, HOLDOUT, EXCLUSIVITY, UNSCORED = "audience", "holdout", "exclusivity", "unscored"

LIMITS_UNKNOWN = "limits_unknown"
"""Removes coupons that only the ledger can clear, while it cannot be read."""


@dataclass(frozen=True)
class Rule:
    """A predicate on candidate rows, true for those to remove, and the terms that it needs."""

    removes: Callable[[RuleContext, np.ndarray], np.ndarray]
    needs: str | None = None


RULES: Mapping[str, Rule] = {
    HOLDOUT: Rule(in_holdout),
    "expired": Rule(expired),
    "not_yet_valid": Rule(not_yet_valid),
    "coupon_unknown": Rule(coupon_unknown, "coupon_unknown"),
    "scope_unknown": Rule(scope_unknown, "scope_unknown"),
    "terms_unknown": Rule(terms_unknown, "terms_unknown"),
    "redemption_unknown": Rule(redemption_unknown, "refused_rows"),
    "redeemed": Rule(redeemed),
    "max_discount": Rule(max_discount, "max_discount"),
    "placement": Rule(placement, "placements"),
    "stock": Rule(stock, "sold_out"),
    "min_spend": Rule(min_spend, "min_spend"),
    "product_scope": Rule(product_scope, "scope"),
    "min_margin": Rule(min_margin, "min_margin"),
}

USAGE_RULES: Mapping[str, Rule] = {
    "usage_cap": Rule(usage_cap, "per_user_limit"),
    "usage_cap_period": Rule(usage_cap_period, "period_limit"),
    TOTAL: Rule(usage_cap_total, "total_limit"),
    CAMPAIGN: Rule(campaign_budget, "campaign_budget"),
    USER_BUDGET: Rule(user_budget, "user_budget"),
    FREQUENCY: Rule(frequency_cap, "impression_limit"),
}

_USAGE_TERMS = frozenset(rule.needs for rule in USAGE_RULES.values())
_LEDGER_TERMS = _USAGE_TERMS.union(LEDGER_LIMITS)


def needs_ledger(index: CandidateIndex) -> bool:
    """True if a decision can need the ledger, and so wait for it."""
    return not index.terms.stated.isdisjoint(_LEDGER_TERMS)


def filter_candidates(
    context: RuleContext, rows: np.ndarray, ledger: Ledger
) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the rows that no rule removes, and the number of rows that each rule removed.

    Reads the ledger once, for the rows that remain after the rules that do not need it. If it
    cannot be read, removes the coupons that only the ledger can clear.
    """
    rows, removed = apply_rules(context, rows, RULES)
    stated = context.index.terms.stated
    if not len(rows) or stated.isdisjoint(_USAGE_TERMS):
        return rows, removed
    try:
        context = replace(context, usage=_read_usage(context, rows, ledger))
    except StorageFailed as error:
        log.warning("%s", error)
        rows, more = apply_rules(context, rows, {LIMITS_UNKNOWN: Rule(has_ledger_limit)})
        removed |= more
    rows, more = apply_rules(context, rows, USAGE_RULES)
    return rows, removed | more


def _read_usage(context: RuleContext, rows: np.ndarray, ledger: Ledger) -> Usage:
    """Reads the user's usage, with impressions back to the longest period of the coupons."""
    since = context.as_of - int(context.index.terms.impression_period[rows].max())
    until = context.as_of if context.until is None else context.until
    return ledger.usage(context.user_id, since, until, context.holder)


def apply_rules(
    context: RuleContext, rows: np.ndarray, rules: Mapping[str, Rule]
) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the rows that no rule removes, and the number of rows that each rule removed.

    Rules run in order. A coupon counts for the first rule that removes it. Rules that removed
    nothing are left out.
    """
    removed: dict[str, int] = {}
    stated = context.index.terms.stated
    for name, rule in rules.items():
        if rule.needs is None or rule.needs in stated:
            gone = rule.removes(context, rows)
            count = int(np.count_nonzero(gone))
            if count:
                removed[name] = count
                rows = rows[~gone]
    return rows, removed
