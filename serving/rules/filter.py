"""Rules that keep a coupon from being shown, whatever its score.

A rule is a function of the context that answers, for each candidate row, whether it must go.
A new rule is one function and one line in ``RULES`` or, if it needs the ledger, ``USAGE_RULES``. A
rule that names the terms it ``needs`` is not asked while no coupon has any.
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
    expired,
    held_out,
    min_margin,
    min_spend,
    not_yet_valid,
    placement,
    product_scope,
    stock,
)
from serving.rules.usage import (
    LIMITED,
    campaign_budget,
    frequency_cap,
    limited,
    usage_cap,
    usage_cap_period,
    usage_cap_total,
    user_budget,
)

log = logging.getLogger(__name__)


AUDIENCE, HOLDOUT, EXCLUSIVITY, UNKNOWN = "audience", "holdout", "exclusivity", "limits_unknown"


UNSCORED = "unscored"


@dataclass(frozen=True)
class Rule:
    """What answers for each candidate row whether it must go, and the terms it needs, if any."""

    removes: Callable[[RuleContext, np.ndarray], np.ndarray]
    needs: str | None = None


RULES: Mapping[str, Rule] = {
    HOLDOUT: Rule(held_out),
    "expired": Rule(expired),
    "not_yet_valid": Rule(not_yet_valid),
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


_LEDGER_TERMS = _USAGE_TERMS.union(LIMITED)


def asks_ledger(index: CandidateIndex) -> bool:
    """Whether a decision may have to ask the ledger, and so to wait for it."""
    return not index.terms.stated.isdisjoint(_LEDGER_TERMS)


def before_scoring(
    context: RuleContext, rows: np.ndarray, ledger: Ledger
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows that every rule lets through, and how many each rule removed.

    The ledger is read once, for what is left after the rules that do without it. While it cannot
    be read, coupons that only it can clear are removed.
    """
    rows, removed = apply_rules(context, rows, RULES)
    stated = context.index.terms.stated
    if not len(rows) or stated.isdisjoint(_USAGE_TERMS):
        return rows, removed
    try:
        context = replace(context, usage=_usage(context, rows, ledger))
    except StorageFailed as error:
        log.warning("%s", error)
        rows, more = apply_rules(context, rows, {UNKNOWN: Rule(limited)})
        removed |= more
    rows, more = apply_rules(context, rows, USAGE_RULES)
    return rows, removed | more


def _usage(context: RuleContext, rows: np.ndarray, ledger: Ledger) -> Usage:
    """What the ledger knows, with impressions as far back as any of the coupons asks."""
    since = context.as_of - int(context.index.terms.impression_period[rows].max())
    until = context.as_of if context.until is None else context.until
    return ledger.usage(context.user_id, since, until)


def apply_rules(
    context: RuleContext, rows: np.ndarray, rules: Mapping[str, Rule]
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows that every rule lets through, and how many each rule removed.

    Rules run in order; a coupon counts for the first rule that removes it, and a rule that removed
    nothing is not named.
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
