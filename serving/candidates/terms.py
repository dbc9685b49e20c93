"""Coupon terms as arrays: limits, budgets, placements, periods, stock, and the cap on a discount.

Read from the plans in the lake, as of an instant. Most retailers state few of them. `Terms.stated`
names the terms that any coupon has, so that a rule without terms costs nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from feature_repo.instants import DAY
from feature_repo.names import COUPON, PLACEMENTS, PRODUCT
from feature_repo.transforms.request.scope import Scope
from serving.candidates.discounts import PERCENT, Discounts
from serving.candidates.unstated import NO_LIMIT, UNSTATED

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class TermColumns:
    """Columns of the tables coupon_terms and product_terms, as of one instant."""

    coupons: Columns
    products: Columns


NO_TERMS = TermColumns({COUPON: ()}, {PRODUCT: ()})


@dataclass(frozen=True)
class Terms:
    """The terms of ``n`` coupons as arrays of ``n``; a limit that is not stated is NO_LIMIT.

    ``placements`` has a bit for each of PLACEMENTS. Periods are in microseconds. ``group`` numbers
    exclusivity groups, UNSTATED for none. ``min_margin`` is whole percent, UNSTATED for none.
    ``sold_out`` is true if no covered product is in stock, or not the gift. ``unit_cost`` has minor
    units by product. A coupon is held back where ``coupon_unknown``, ``scope_unknown`` or
    ``terms_unknown``: its plan has a row in quarantine, or not yet in force. ``refused_rows`` has,
    by user, the coupons of which the user has a redemption in quarantine.
    """

    discounts: Discounts
    placements: np.ndarray
    per_user_limit: np.ndarray
    total_limit: np.ndarray
    period_limit: np.ndarray
    period: np.ndarray
    campaign_budget: np.ndarray
    user_budget: np.ndarray
    group: np.ndarray
    impression_limit: np.ndarray
    impression_period: np.ndarray
    min_margin: np.ndarray
    sold_out: np.ndarray
    coupon_unknown: np.ndarray
    scope_unknown: np.ndarray
    terms_unknown: np.ndarray
    unit_cost: Mapping[str, int]
    stated: frozenset[str]
    refused_rows: Mapping[str, np.ndarray] = field(default_factory=dict)


def terms_from_columns(coupons: Columns, scope: Scope, given: TermColumns = NO_TERMS) -> Terms:
    """Arranges the terms of the coupons in ``coupons``, ``n`` entries a column of coupon_details.

    ``given`` has terms of some coupons and products, in any order. A discount that contradicts
    itself is logged and gets no quote. A coupon without products covers the whole cart if its
    column ``covers_whole_cart`` is true, else nothing: its scope is unknown.
    """
    column = _aligned(coupons[COUPON], given.coupons)
    discounts = _discounts(coupons, scope, column)
    has_no_products = np.bincount(scope.coupons, minlength=len(discounts.kind)) == 0
    found = {
        "placements": _placement_bits(column("placements")),
        "per_user_limit": _integers(coupons["per_user_limit"]),
        "total_limit": _integers(column("total_limit")),
        "period_limit": _integers(column("period_limit")),
        "campaign_budget": _lowest(_integers(column("campaign_budget")), coupons["campaign_id"]),
        "user_budget": _lowest(_integers(column("user_budget")), coupons["campaign_id"]),
        "group": _group_numbers(column("exclusivity_group")),
        "impression_limit": _integers(column("impression_limit")),
        "min_margin": _integers(column("min_margin"), UNSTATED),
        "sold_out": _sold_out(discounts, column("gift_product_id"), given.products),
        "coupon_unknown": _flags(coupons, "coupon_unknown"),
        "scope_unknown": _flags(coupons, "scope_unknown")
        | (has_no_products & ~discounts.whole_cart),
        "terms_unknown": _flags(coupons, "terms_unknown"),
    }
    return Terms(
        discounts=discounts,
        period=_periods(column("period_days")),
        impression_period=_periods(column("impression_days")),
        unit_cost=_by_product(given.products, "unit_cost"),
        stated=_stated_names(found, discounts),
        **found,
    )


_ALL_PLACEMENTS = (1 << len(PLACEMENTS)) - 1
_DEFAULTS = {
    "placements": _ALL_PLACEMENTS,
    "group": UNSTATED,
    "min_margin": UNSTATED,
    "sold_out": False,
    "coupon_unknown": False,
    "scope_unknown": False,
    "terms_unknown": False,
}
"""Values of arrays without a statement; NO_LIMIT for all others."""


def _stated_names(found: Mapping[str, np.ndarray], discounts: Discounts) -> frozenset[str]:
    names = {name for name, a in found.items() if (a != _DEFAULTS.get(name, NO_LIMIT)).any()}
    names |= {"min_spend"} if (discounts.min_spend > 0).any() else set()
    names |= {"max_discount"} if (discounts.max_discount == 0).any() else set()
    return frozenset(names | ({"scope"} if not discounts.whole_cart.all() else set()))


def _aligned(coupon_ids: Sequence[str], given: Columns) -> Callable[[str], list[Any]]:
    """Returns a function from a column's name to its values in the order of ``coupon_ids``."""
    row_of = {one: row for row, one in enumerate(given[COUPON])}
    rows = [row_of.get(one) for one in coupon_ids]

    def column(name: str) -> list[Any]:
        values = given.get(name, ())
        return [None if row is None or not values else values[row] for row in rows]

    return column


def _integers(values: Sequence[int | None], missing: int = NO_LIMIT) -> np.ndarray:
    return np.array([missing if value is None else int(value) for value in values], np.int64)


def _periods(days: Sequence[int | None]) -> np.ndarray:
    return _integers(days, 0) * DAY


def _flags(coupons: Columns, name: str) -> np.ndarray:
    """Returns a column of true and false; a missing value or column is false."""
    return np.array([bool(one) for one in coupons.get(name) or [None] * len(coupons[COUPON])], bool)


def _discounts(coupons: Columns, scope: Scope, of_terms: Callable[[str], list[Any]]) -> Discounts:
    kinds = {name: position for position, name in enumerate(DISCOUNT_TYPES)}
    kind = np.array([kinds.get(one, UNSTATED) for one in coupons["discount_type"]], np.int64)
    value = _integers(coupons["discount_value"], UNSTATED)
    wrong = (kind == PERCENT) & (value > 100)
    for row in np.flatnonzero(wrong).tolist():
        log.warning(
            "coupon %s takes %d percent off, expected at most 100; it has no quote until the "
            "source corrects it",
            coupons[COUPON][row],
            value[row],
        )
    covers = np.bincount(scope.coupons, minlength=len(kind))
    of_covered = np.array([one == "covered" for one in of_terms("min_spend_basis")], dtype=bool)
    return Discounts(
        kind=np.where(wrong | (value < 0), UNSTATED, kind),
        value=np.maximum(value, 0),
        min_spend=_integers(coupons["min_spend"], 0),
        max_discount=_integers(of_terms("max_discount")),
        whole_cart=_flags(coupons, "covers_whole_cart") & (covers == 0),
        scope=scope,
        min_of_covered=of_covered if of_covered.any() else None,
    )


def _placement_bits(values: Sequence[str | None]) -> np.ndarray:
    bits = [
        _ALL_PLACEMENTS if value is None else sum(map(placement_bit, set(value.split())))
        for value in values
    ]
    return np.array(bits, np.int64)


def placement_bit(name: str) -> int:
    """Returns the bit of a placement. Raises ValueError for a name that is not in PLACEMENTS."""
    return 1 << PLACEMENTS.index(name)


def _lowest(values: np.ndarray, campaigns: Sequence[str]) -> np.ndarray:
    """Applies a campaign's limit, stated with any of its coupons, to all its coupons."""
    least: dict[str, int] = {}
    for campaign, value in zip(campaigns, values.tolist(), strict=True):
        least[campaign] = min(value, least.get(campaign, NO_LIMIT))
    return np.array([least[campaign] for campaign in campaigns], np.int64)


def _group_numbers(values: Sequence[str | None]) -> np.ndarray:
    numbers: dict[str, int] = {}
    codes = [UNSTATED if one is None else numbers.setdefault(one, len(numbers)) for one in values]
    return np.array(codes, np.int64)


def _by_product(columns: Columns, name: str) -> dict[str, int]:
    pairs = zip(columns[PRODUCT], columns.get(name, ()), strict=False)
    return {product: int(value) for product, value in pairs if value is not None}


def _sold_out(discounts: Discounts, gifts: Sequence[str | None], products: Columns) -> np.ndarray:
    gone = {product for product, units in _by_product(products, "stock").items() if units == 0}
    in_stock = np.array([product not in gone for product in discounts.scope.index], dtype=bool)
    column = np.repeat(np.arange(len(in_stock)), np.diff(discounts.scope.start))
    stocked = np.bincount(discounts.scope.coupons, in_stock[column], len(discounts.kind)) > 0
    no_gift = np.array([gift in gone for gift in gifts], dtype=bool)
    return ~(stocked | discounts.whole_cart) | no_gift
