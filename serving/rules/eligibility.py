"""Rules that need no ledger: validity, placement, stock, minimum spend, scope, margin.

Each rule is a predicate: it returns one bool a candidate row, true where the coupon must go.
"""

import numpy as np

from serving.candidates.discounts import GIFT
from serving.candidates.terms import placement_bit
from serving.candidates.unstated import NO_LIMIT, UNSTATED
from serving.rules.context import RuleContext
from serving.rules.margin import is_below_margin


def in_holdout(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True for all rows if the user is in the holdout."""
    settings = context.settings
    if settings.holdout_share > 0 and settings.is_held_out(context.user_id):
        return np.ones(len(rows), dtype=bool)
    return np.zeros(len(rows), dtype=bool)


def expired(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon has expired; ``valid_to`` itself is too late.

    >>> from types import SimpleNamespace
    >>> index = SimpleNamespace(valid_to=np.array([1_000, 1_001]))
    >>> expired(SimpleNamespace(index=index, as_of=1_000), np.array([0, 1])).tolist()
    [True, False]
    """
    return context.index.valid_to[rows] <= context.as_of


def not_yet_valid(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon is not valid yet; ``valid_from`` itself is early enough.

    >>> from types import SimpleNamespace
    >>> index = SimpleNamespace(valid_from=np.array([1_000, 1_001]))
    >>> not_yet_valid(SimpleNamespace(index=index, as_of=1_000), np.array([0, 1])).tolist()
    [False, True]
    """
    return context.index.valid_from[rows] > context.as_of


def redeemed(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the user has redeemed a coupon whose source states no limit for one user.

    A limit that is stated is the matter of ``usage_cap``, which also reads the ledger.
    """
    row_of = context.index.row_of
    used = [row_of[one] for one, times in context.redeemed.items() if times > 0 and one in row_of]
    if not used:
        return np.zeros(len(rows), dtype=bool)
    return np.isin(rows, used) & (context.index.terms.per_user_limit[rows] == NO_LIMIT)


def coupon_unknown(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where a newer row of the coupon is in quarantine."""
    return context.index.terms.coupon_unknown[rows]


def scope_unknown(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where no product of the coupon is in force, and no statement covers the whole cart."""
    return context.index.terms.scope_unknown[rows]


def terms_unknown(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon's terms are in quarantine or not yet in force."""
    return context.index.terms.terms_unknown[rows]


def redemption_unknown(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where a redemption of the coupon by this user is in quarantine."""
    refused = context.index.terms.refused_rows.get(context.user_id)
    return np.zeros(len(rows), dtype=bool) if refused is None else np.isin(rows, refused)


def max_discount(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the terms allow no discount at all; the cap does not apply to gifts."""
    discounts = context.index.terms.discounts
    return (discounts.max_discount[rows] == 0) & (discounts.kind[rows] != GIFT)


def placement(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon's terms do not allow this placement.

    >>> from types import SimpleNamespace
    >>> home, cart = placement_bit("home"), placement_bit("cart")
    >>> terms = SimpleNamespace(placements=np.array([home, home | cart]))
    >>> context = SimpleNamespace(index=SimpleNamespace(terms=terms), placement="cart")
    >>> placement(context, np.array([0, 1])).tolist()
    [True, False]
    """
    return context.index.terms.placements[rows] & placement_bit(context.placement) == 0


def stock(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where no covered product is in stock, or the coupon's gift is not."""
    return context.index.terms.sold_out[rows]


def min_spend(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where a cart about to be paid, or its covered lines, do not reach the minimum spend."""
    short = context.index.terms.discounts.min_spend[rows] > context.coverage.spend(rows)
    return short & context.is_binding


def product_scope(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where a cart about to be paid has no product that the coupon covers."""
    if not context.is_binding:
        return np.zeros(len(rows), dtype=bool)
    return ~context.coverage.has_covered_line[rows]


def min_margin(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """True where the coupon would leave less than its minimum margin on this cart."""
    terms = context.index.terms
    if not len(context.cart):
        return np.zeros(len(rows), dtype=bool)
    least = terms.min_margin[rows]
    below = is_below_margin(rows, context.coverage, terms.unit_cost, least)
    return below & (least != UNSTATED)
