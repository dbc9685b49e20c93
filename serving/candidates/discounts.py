"""The discount of a coupon on a cart: percentage or amount, minimum spend, cap (`max_discount`).

`discount_amounts` applies the cap, after `terms` has read it from the coupon's terms. All amounts
are whole minor units. A percentage is of the sum of the lines that the coupon covers. It is rounded
once, to the nearest minor unit, a half upward: in favor of the shopper. A line counts for at most
10**12 minor units, the contract's largest amount.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from feature_repo.transforms.request.scope import Scope
from serving.candidates.cart import NO_AMOUNTS, Cart
from serving.candidates.unstated import NO_LIMIT, UNSTATED

PERCENT, AMOUNT_OFF, OVER_THRESHOLD, GIFT, CASHBACK = range(len(DISCOUNT_TYPES))


@dataclass(frozen=True)
class Discounts:
    """The discounts of ``n`` coupons, as arrays of ``n``.

    ``kind`` is a position in DISCOUNT_TYPES or UNSTATED. ``value`` is whole percent for PERCENT,
    else minor units. Without a statement, ``min_spend`` is 0 and ``max_discount`` is NO_LIMIT.
    ``scope`` has the covered products; a coupon of ``whole_cart`` covers every product. Where
    ``min_of_covered``, the covered lines must reach ``min_spend``, else the whole cart; None if
    it is the whole cart for all coupons.
    """

    kind: np.ndarray
    value: np.ndarray
    min_spend: np.ndarray
    max_discount: np.ndarray
    whole_cart: np.ndarray
    scope: Scope
    min_of_covered: np.ndarray | None = None

    @cached_property
    def max_per_use(self) -> np.ndarray:
        """The highest value of one use on any cart; NO_LIMIT for a percentage without a cap.

        The cap does not apply to gifts.
        """
        fixed = np.where(self.kind == PERCENT, NO_LIMIT, self.value)
        capped = np.minimum(fixed, np.where(self.kind == GIFT, NO_LIMIT, self.max_discount))
        return np.where(self.kind == UNSTATED, 0, capped)


@dataclass(frozen=True)
class Coverage:
    """The lines of a cart that each of ``n`` coupons covers, as pairs: coupon row, line position.

    Coupons that cover the whole cart need no pairs.
    """

    discounts: Discounts
    cart: Cart
    coupon: np.ndarray
    line: np.ndarray

    @cached_property
    def costs(self) -> np.ndarray:
        """Minor units to reserve for one use of each coupon: its highest value on any cart.

        For a percentage without a cap: its value on this cart, 0 without a cart.
        """
        highest = self.discounts.max_per_use
        is_open = highest == NO_LIMIT
        if not len(self.cart):
            return np.where(is_open, 0, highest)
        rows = np.flatnonzero(is_open)
        costs = highest.copy()
        costs[rows] = discount_amounts(self, rows)
        return costs

    @cached_property
    def amounts(self) -> np.ndarray:
        """The amount of the lines that each coupon covers: int64, one value a coupon.

        Deductions of a covered product lower it, and all of them that of the whole cart; at
        least 0.
        """
        sums = self.covered_sums(self.cart.amounts)
        return np.maximum(sums, 0) if self.cart.has_deductions else sums

    def spend(self, rows: np.ndarray) -> np.ndarray | int:
        """The amount that must reach the minimum of each row, or one amount for all rows."""
        of_covered = self.discounts.min_of_covered
        if of_covered is None:
            return self.cart.total
        return np.where(of_covered[rows], self.amounts[rows], self.cart.total)

    def covered_sums(self, amounts: np.ndarray) -> np.ndarray:
        """Sums an amount of each line over the lines a coupon covers: int64, one value a coupon.

        Exact, as sums stay below 2**53.
        """
        if not len(self.cart):
            return np.zeros(len(self.discounts.kind), dtype=np.int64)
        sums = np.bincount(self.coupon, amounts[self.line], len(self.discounts.kind))
        return np.where(self.discounts.whole_cart, amounts.sum(), sums).astype(np.int64)

    @cached_property
    def has_covered_line(self) -> np.ndarray:
        """True for each coupon that covers goods in the cart, even goods that cost nothing."""
        covered = self.coupon[self.line < self.cart.goods]
        found = np.bincount(covered, minlength=len(self.discounts.kind)) > 0
        return found | (self.discounts.whole_cart & (self.cart.goods > 0))

    def covered_products(self, rows: np.ndarray) -> list[tuple[str, ...]]:
        """Lists the cart's goods that each row covers, each once, in the order of the cart."""
        ids = self.cart.product_ids[: self.cart.goods]
        every, whole = tuple(dict.fromkeys(ids)), self.discounts.whole_cart[rows].tolist()
        if not len(self.cart):
            return [()] * len(rows)
        place = np.full(len(self.discounts.kind), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        found: list[dict[str, None]] = [{} for _ in rows]
        wanted = (place[self.coupon] >= 0) & (self.line < self.cart.goods)
        pairs = zip(place[self.coupon[wanted]].tolist(), self.line[wanted].tolist(), strict=True)
        for row, line in pairs:
            found[row][ids[line]] = None
        return [every if is_whole else tuple(f) for is_whole, f in zip(whole, found, strict=True)]


def coverage(discounts: Discounts, cart: Cart) -> Coverage:
    """Finds the lines of the cart that each coupon covers."""
    if not len(cart):
        return Coverage(discounts, cart, NO_AMOUNTS, NO_AMOUNTS)
    scope = discounts.scope
    column = np.fromiter((scope.index.get(one, -1) for one in cart.product_ids), np.int64)
    known = np.flatnonzero(column >= 0)
    parts = [scope.coupons[scope.start[c] : scope.start[c + 1]] for c in column[known].tolist()]
    coupon = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    line = np.repeat(known, [len(part) for part in parts])
    return Coverage(discounts, cart, coupon, line)


def discount_amounts(cover: Coverage, rows: np.ndarray) -> np.ndarray:
    """Computes the value of the coupons in ``rows`` on a cart, in minor units: int64, one a row.

    At most ``max_discount``, the covered amount and the cart's total; none of them bounds a gift. 0
    if the cart or its covered lines are below the minimum spend, or if the coupon covers nothing.
    """
    discounts, covered_amount = cover.discounts, cover.amounts[rows]
    kind, value = discounts.kind[rows], discounts.value[rows]
    percent = (covered_amount * np.where(kind == PERCENT, value, 0) + 50) // 100
    money = np.where(kind == PERCENT, percent, np.minimum(value, covered_amount))
    money = np.minimum(money, cover.cart.total)
    is_gift, covers = kind == GIFT, covered_amount > 0
    if is_gift.any():
        covers |= is_gift & cover.has_covered_line[rows]
    capped = np.where(is_gift, value, np.minimum(money, discounts.max_discount[rows]))
    applies = (cover.spend(rows) >= discounts.min_spend[rows]) & covers & (kind != UNSTATED)
    return np.where(applies, capped, 0)
