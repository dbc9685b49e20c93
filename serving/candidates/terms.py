"""What limits the use of each coupon, as arrays beside the candidate index.

Most retailers state little of it: ``stated`` names what any coupon has, so that a rule that can
apply to none costs nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from feature_repo.names import COUPON, PLACEMENTS, PRODUCT
from feature_repo.transforms.arithmetic import DAY_US
from feature_repo.transforms.request.scope import Scope
from serving.candidates.offers import NO_LIMIT, PERCENT, UNSTATED, Offers

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence]

NO_GROUP = -1
ANY_MARGIN = -1


@dataclass(frozen=True)
class TermColumns:
    """What Feast returned of ``coupon_terms_v1``: columns by coupon and by product."""

    coupons: Columns
    products: Columns


NO_TERMS = TermColumns({COUPON: ()}, {PRODUCT: ()})


@dataclass(frozen=True)
class Terms:
    """The terms of ``n`` coupons as arrays of ``n``; a limit that is not stated is NO_LIMIT.

    ``placements`` has a bit for each of PLACEMENTS; periods are in microseconds; ``group`` numbers
    exclusivity groups, NO_GROUP for none; ``min_margin`` is whole percent, ANY_MARGIN for none;
    ``sold_out`` tells coupons of which no covered product, or not the gift, is in stock.
    ``unit_cost`` has minor units by product.
    """

    offers: Offers
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
    unit_cost: Mapping[str, int]
    stated: frozenset[str]


def terms_from_columns(coupons: Columns, scope: Scope, given: TermColumns = NO_TERMS) -> Terms:
    """Arrange the terms of the coupons in ``coupons``, ``n`` entries a column of coupon_details.

    ``given`` has terms of some coupons and products, in any order. A discount that contradicts
    itself is logged and has no quote.
    """
    column = _aligned(coupons[COUPON], given.coupons)
    offers = _offers(coupons, scope, column("max_discount"))
    found = {
        "placements": _placement_bits(column("placements")),
        "per_user_limit": _whole(coupons["per_user_limit"]),
        "total_limit": _whole(column("total_limit")),
        "period_limit": _whole(column("period_limit")),
        "campaign_budget": _smallest(_whole(column("campaign_budget")), coupons["campaign_id"]),
        "user_budget": _smallest(_whole(column("user_budget")), coupons["campaign_id"]),
        "group": _groups(column("exclusivity_group")),
        "impression_limit": _whole(column("impression_limit")),
        "min_margin": _whole(column("min_margin"), ANY_MARGIN),
        "sold_out": _sold_out(offers, column("gift_product_id"), given.products),
    }
    return Terms(
        offers=offers,
        period=_days(column("period_days")),
        impression_period=_days(column("impression_days")),
        unit_cost=_known(given.products, "unit_cost"),
        stated=_stated(found, offers),
        **found,
    )


_NOTHING = {
    "placements": (1 << len(PLACEMENTS)) - 1,
    "group": NO_GROUP,
    "min_margin": ANY_MARGIN,
    "sold_out": False,
}


def _stated(found: Mapping[str, np.ndarray], offers: Offers) -> frozenset[str]:
    names = {name for name, a in found.items() if (a != _NOTHING.get(name, NO_LIMIT)).any()}
    names |= {"min_spend"} if (offers.min_spend > 0).any() else set()
    return frozenset(names | ({"scope"} if not offers.whole_cart.all() else set()))


def _aligned(coupon_ids: Sequence[str], given: Columns):
    """A function from a column's name to its values in the order of ``coupon_ids``."""
    row_of = {one: row for row, one in enumerate(given[COUPON])}
    rows = [row_of.get(one) for one in coupon_ids]

    def column(name: str) -> list:
        values = given.get(name, ())
        return [None if row is None or not values else values[row] for row in rows]

    return column


def _whole(values: Sequence, missing: int = NO_LIMIT) -> np.ndarray:
    return np.array([missing if value is None else int(value) for value in values], np.int64)


def _days(values: Sequence) -> np.ndarray:
    return _whole(values, 0) * DAY_US


def _offers(coupons: Columns, scope: Scope, max_discount: Sequence) -> Offers:
    kinds = {name: position for position, name in enumerate(DISCOUNT_TYPES)}
    kind = np.array([kinds.get(one, UNSTATED) for one in coupons["discount_type"]], np.int64)
    value = _whole(coupons["discount_value"], UNSTATED)
    wrong = (kind == PERCENT) & (value > 100)
    for row in np.flatnonzero(wrong):
        log.warning(
            "coupon %s takes %d percent off, expected at most 100; it has no quote until the "
            "source corrects it",
            coupons[COUPON][row],
            value[row],
        )
    covers = np.bincount(scope.coupons, minlength=len(kind))
    return Offers(
        kind=np.where(wrong | (value < 0), UNSTATED, kind),
        value=np.maximum(value, 0),
        min_spend=_whole(coupons["min_spend"], 0),
        max_discount=_whole(max_discount),
        whole_cart=covers == 0,
        scope=scope,
    )


def _placement_bits(values: Sequence[str | None]) -> np.ndarray:
    bits = [
        _NOTHING["placements"] if value is None else sum(map(placement_bit, set(value.split())))
        for value in values
    ]
    return np.array(bits, np.int64)


def placement_bit(name: str) -> int:
    """The bit of a placement. Raises ValueError for one that there is not."""
    return 1 << PLACEMENTS.index(name)


def _smallest(values: np.ndarray, campaigns: Sequence[str]) -> np.ndarray:
    """A campaign's limit, stated with any of its coupons, holds for all of them."""
    least: dict[str, int] = {}
    for campaign, value in zip(campaigns, values.tolist(), strict=True):
        least[campaign] = min(value, least.get(campaign, NO_LIMIT))
    return np.array([least[campaign] for campaign in campaigns], np.int64)


def _groups(values: Sequence[str | None]) -> np.ndarray:
    numbers: dict[str, int] = {}
    codes = [NO_GROUP if one is None else numbers.setdefault(one, len(numbers)) for one in values]
    return np.array(codes, np.int64)


def _known(columns: Columns, name: str) -> dict[str, int]:
    pairs = zip(columns[PRODUCT], columns.get(name, ()), strict=False)
    return {product: int(value) for product, value in pairs if value is not None}


def _sold_out(offers: Offers, gifts: Sequence[str | None], products: Columns) -> np.ndarray:
    gone = {product for product, units in _known(products, "stock").items() if units == 0}
    there = np.array([product not in gone for product in offers.scope.index], dtype=bool)
    column = np.repeat(np.arange(len(there)), np.diff(offers.scope.start))
    stocked = np.bincount(offers.scope.coupons, there[column], len(offers.kind)) > 0
    no_gift = np.array([gift in gone for gift in gifts], dtype=bool)
    return ~(stocked | offers.whole_cart) | no_gift
