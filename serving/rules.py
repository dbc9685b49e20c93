"""Rules that keep a coupon from being shown, whatever its score.

A rule is a function of the situation that answers, for each candidate row, whether it must go.
A new rule is one function and one line in ``RULES`` or, if it needs the ledger, ``USAGE_RULES``. A
rule that names the terms it ``needs`` is not asked while no coupon has any.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from serving.candidates import CandidateIndex
from serving.errors import StorageFailed
from serving.ledger import CAMPAIGN, FREQUENCY, TOTAL, USER_BUDGET, Ledger, Usage
from serving.quotes import NO_LIMIT, Cart, Coverage, too_thin
from serving.settings import RuleSettings
from serving.terms import ANY_MARGIN, placement_bit

log = logging.getLogger(__name__)

AUDIENCE, HOLDOUT, EXCLUSIVITY, UNKNOWN = "audience", "holdout", "exclusivity", "limits_unknown"
UNSCORED = "unscored"
LIMITED = ("total_limit", "campaign_budget", "user_budget", "period_limit", "impression_limit")
"""Terms that only the ledger can tell to be kept."""

_BINDING = ("cart", "checkout")
"""Where the cart is what the shopper is about to pay: a coupon must do something for it."""


@dataclass(frozen=True)
class Situation:
    """What rules may look at.

    ``as_of`` is in microseconds; ``coverage`` has the cart; ``redeemed`` counts the user's
    redemptions so far by coupon id, as the online features know them; ``usage`` is what the ledger
    knows until the instant ``until``, by default ``as_of``, read once cheap rules are done.
    """

    index: CandidateIndex
    as_of: int
    redeemed: Mapping[str, float]
    coverage: Coverage
    user_id: str = ""
    placement: str = "home"
    settings: RuleSettings = RuleSettings()
    usage: Usage = Usage()
    until: int | None = None

    @property
    def cart(self) -> Cart:
        return self.coverage.cart

    @property
    def is_binding(self) -> bool:
        """Whether there is a cart and it is about to be paid."""
        return len(self.cart) > 0 and self.placement in _BINDING


@dataclass(frozen=True)
class Rule:
    """What answers for each candidate row whether it must go, and the terms it needs, if any."""

    removes: Callable[[Situation, np.ndarray], np.ndarray]
    needs: str | None = None


def held_out(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The user is in the holdout."""
    settings = situation.settings
    if settings.holdout_share > 0 and settings.held_out(situation.user_id):
        return np.ones(len(rows), dtype=bool)
    return np.zeros(len(rows), dtype=bool)


def expired(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon can no longer be used; ``valid_to`` itself is already too late."""
    return situation.index.valid_to[rows] <= situation.as_of


def not_yet_valid(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon cannot be used yet; ``valid_from`` itself is early enough."""
    return situation.index.valid_from[rows] > situation.as_of


def placement(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon may not be shown here."""
    return situation.index.terms.placements[rows] & placement_bit(situation.placement) == 0


def stock(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """Nothing that the coupon covers is in stock, or its gift is not."""
    return situation.index.terms.sold_out[rows]


def min_spend(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The cart that is about to be paid does not reach the coupon's minimum spend."""
    short = situation.index.terms.offers.min_spend[rows] > situation.cart.total
    return short & situation.is_binding


def product_scope(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The cart that is about to be paid has none of the products that the coupon covers."""
    if not situation.is_binding:
        return np.zeros(len(rows), dtype=bool)
    return ~situation.coverage.touched[rows]


def min_margin(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon would leave too little of what is paid for this cart."""
    terms = situation.index.terms
    if not len(situation.cart) or not terms.unit_cost:
        return np.zeros(len(rows), dtype=bool)
    least = terms.min_margin[rows]
    thin = too_thin(rows, situation.coverage, terms.unit_cost, least)
    return thin & (least != ANY_MARGIN)


def usage_cap(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The user has used the coupon as often as one user may."""
    limit = situation.index.terms.per_user_limit
    known = Counter(coupon_id for coupon_id, _ in situation.usage.redeemed)
    counts = {key: max(known[key], situation.redeemed.get(key, 0)) for key in known}
    return _counted(situation, {**situation.redeemed, **counts})[rows] >= limit[rows]


def usage_cap_period(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The user has used the coupon as often as one user may within its period."""
    terms = situation.index.terms
    used = _within(situation, situation.usage.redeemed, terms.period)
    return used[rows] >= terms.period_limit[rows]


def frequency_cap(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The user was shown the coupon as often as is allowed within its period."""
    terms = situation.index.terms
    seen = _within(situation, situation.usage.seen, terms.impression_period)
    return seen[rows] >= terms.impression_limit[rows]


def usage_cap_total(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """All users together have used, or hold in reserve, as many as there are."""
    index, usage = situation.index, situation.usage
    own = _counted(situation, dict.fromkeys(usage.held, 1))[rows]
    return _listed(usage.uses, index.coupon_id[rows]) - own >= index.terms.total_limit[rows]


def campaign_budget(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """What is left of the campaign's budget does not pay for the coupon."""
    budget = situation.index.terms.campaign_budget[rows]
    return _over(situation, rows, situation.usage.spent, budget)


def user_budget(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """What is left of the campaign's budget for this user does not pay for the coupon."""
    budget = situation.index.terms.user_budget[rows]
    return _over(situation, rows, situation.usage.spent_on_user, budget)


def _over(
    situation: Situation, rows: np.ndarray, spent: Mapping[str, int], budget: np.ndarray
) -> np.ndarray:
    """Whether one more use would spend more than the budget; it costs at least one minor unit."""
    held = {coupon_id: amount for coupon_id, (_, amount) in situation.usage.held.items()}
    others = _listed(spent, situation.index.campaign_id[rows]) - _counted(situation, held)[rows]
    return others + np.maximum(situation.coverage.costs[rows], 1) > budget


def _listed(counts: Mapping[str, int], ids: np.ndarray) -> np.ndarray:
    return np.array([counts.get(one, 0) for one in ids.tolist()], dtype=np.int64)


def _counted(situation: Situation, counts: Mapping[str, float]) -> np.ndarray:
    """Counts by coupon id as one value an index row."""
    out = np.zeros(len(situation.index), dtype=np.int64)
    for coupon_id, count in counts.items():
        row = situation.index.row_of.get(coupon_id)
        if row is not None:
            out[row] = count
    return out


def _within(
    situation: Situation, happened: Sequence[tuple[str, int]], period: np.ndarray
) -> np.ndarray:
    """How often it happened with each coupon within its period, one value an index row.

    Less than a period later is within it too: then the clock was set back meanwhile.
    """
    row_of = situation.index.row_of
    pairs = [(row_of[one], at) for one, at in happened if one in row_of]
    rows, instants = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    recent = rows[np.abs(instants - situation.as_of) < period[rows]]
    return np.bincount(recent, minlength=len(situation.index))


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
    situation: Situation, rows: np.ndarray, ledger: Ledger
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows that every rule lets through, and how many each rule removed.

    The ledger is read once, for what is left after the rules that do without it. While it cannot
    be read, coupons that only it can clear are removed.
    """
    rows, removed = apply_rules(situation, rows, RULES)
    stated = situation.index.terms.stated
    if not len(rows) or stated.isdisjoint(_USAGE_TERMS):
        return rows, removed
    try:
        situation = replace(situation, usage=_usage(situation, rows, ledger))
    except StorageFailed as error:
        log.warning("%s", error)
        rows, more = apply_rules(situation, rows, {UNKNOWN: Rule(limited)})
        removed |= more
    rows, more = apply_rules(situation, rows, USAGE_RULES)
    return rows, removed | more


def limited(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon has a limit that only the ledger can tell to be kept."""
    terms = situation.index.terms
    return np.any([getattr(terms, name)[rows] < NO_LIMIT for name in LIMITED], axis=0)


def _usage(situation: Situation, rows: np.ndarray, ledger: Ledger) -> Usage:
    """What the ledger knows, with impressions as far back as any of the coupons asks."""
    since = situation.as_of - int(situation.index.terms.impression_period[rows].max())
    until = situation.as_of if situation.until is None else situation.until
    return ledger.usage(situation.user_id, since, until)


def apply_rules(
    situation: Situation, rows: np.ndarray, rules: Mapping[str, Rule]
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows that every rule lets through, and how many each rule removed.

    Rules run in order; a coupon counts for the first rule that removes it, and a rule that removed
    nothing is not named.
    """
    removed: dict[str, int] = {}
    stated = situation.index.terms.stated
    for name, rule in rules.items():
        if rule.needs is None or rule.needs in stated:
            gone = rule.removes(situation, rows)
            count = int(np.count_nonzero(gone))
            if count:
                removed[name] = count
                rows = rows[~gone]
    return rows, removed
