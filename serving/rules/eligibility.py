"""Rules that need no ledger: one function a rule."""

import numpy as np

from serving.candidates.terms import placement_bit
from serving.candidates.unstated import UNSTATED
from serving.rules.context import RuleContext
from serving.rules.margin import too_thin


def held_out(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The user is in the holdout."""
    settings = context.settings
    if settings.holdout_share > 0 and settings.held_out(context.user_id):
        return np.ones(len(rows), dtype=bool)
    return np.zeros(len(rows), dtype=bool)


def expired(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The coupon can no longer be used; ``valid_to`` itself is already too late."""
    return context.index.valid_to[rows] <= context.as_of


def not_yet_valid(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The coupon cannot be used yet; ``valid_from`` itself is early enough."""
    return context.index.valid_from[rows] > context.as_of


def placement(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The coupon may not be shown here."""
    return context.index.terms.placements[rows] & placement_bit(context.placement) == 0


def stock(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """Nothing that the coupon covers is in stock, or its gift is not."""
    return context.index.terms.sold_out[rows]


def min_spend(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The cart that is about to be paid does not reach the coupon's minimum spend."""
    short = context.index.terms.discounts.min_spend[rows] > context.cart.total
    return short & context.is_binding


def product_scope(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The cart that is about to be paid has none of the products that the coupon covers."""
    if not context.is_binding:
        return np.zeros(len(rows), dtype=bool)
    return ~context.coverage.has_covered_line[rows]


def min_margin(context: RuleContext, rows: np.ndarray) -> np.ndarray:
    """The coupon would leave too little of what is paid for this cart."""
    terms = context.index.terms
    if not len(context.cart) or not terms.unit_cost:
        return np.zeros(len(rows), dtype=bool)
    least = terms.min_margin[rows]
    thin = too_thin(rows, context.coverage, terms.unit_cost, least)
    return thin & (least != UNSTATED)
