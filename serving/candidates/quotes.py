"""What a coupon would take off a cart. Pure functions on whole minor units.

A line costs quantity x unit price, and a percentage is of the sum of the lines that the coupon
covers; both are rounded once, to the nearest minor unit, a half upward: in favor of the shopper
where it is a discount. A line counts for at most 10**12 minor units, the contract's largest amount.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from serving.candidates.cart import NO_AMOUNTS, Cart
from serving.candidates.offers import CASHBACK, GIFT, NO_LIMIT, PERCENT, UNSTATED, Offers


@dataclass(frozen=True)
class Quote:
    """What a coupon would do to a cart; money is in minor units.

    ``amount_off`` comes off the cart at once, ``cashback`` is paid back later, ``gift_value`` is
    what the gift is worth. ``applies_to`` names the cart's products that it covers and
    ``covered_amount`` is what they cost. ``missing_spend`` is what the cart lacks to the coupon's
    minimum, and with ``missing_product`` it lacks a covered product; without a cart, both are what
    it would need.
    """

    type: str
    value: int
    amount_off: int
    cashback: int
    gift_value: int
    applies_to: tuple[str, ...]
    covered_amount: int
    missing_spend: int
    missing_product: bool


@dataclass(frozen=True)
class Coverage:
    """A cart as ``n`` coupons see it: pairs of a coupon's row and the place of a line it covers."""

    offers: Offers
    cart: Cart
    coupon: np.ndarray
    line: np.ndarray

    @cached_property
    def costs(self) -> np.ndarray:
        """What to set aside for one use, in minor units: the most that a coupon can be worth.

        An open percentage: what it is worth on this cart, 0 without one.
        """
        most = self.offers.most
        is_open = most == NO_LIMIT
        if not len(self.cart):
            return np.where(is_open, 0, most)
        rows = np.flatnonzero(is_open)
        costs = most.copy()
        costs[rows] = worth(self, rows)
        return costs

    @cached_property
    def amounts(self) -> np.ndarray:
        """What the lines that each coupon covers cost: int64, one value a coupon."""
        return self.total(self.cart.amounts)

    def total(self, amounts: np.ndarray) -> np.ndarray:
        """The sum of the covered lines' amounts: int64, one value a coupon.

        Exact, as sums stay below 2**53.
        """
        if not len(self.cart):
            return np.zeros(len(self.offers.kind), dtype=np.int64)
        sums = np.bincount(self.coupon, amounts[self.line], len(self.offers.kind))
        return np.where(self.offers.whole_cart, amounts.sum(), sums).astype(np.int64)

    @cached_property
    def touched(self) -> np.ndarray:
        """Whether each coupon covers any line of the cart, whatever that costs; one bool each."""
        found = np.bincount(self.coupon, minlength=len(self.offers.kind)) > 0
        return found | (self.offers.whole_cart & (len(self.cart) > 0))

    def products(self, rows: np.ndarray) -> list[tuple[str, ...]]:
        """The cart's products that each row covers, each once, in the order of the cart."""
        ids = self.cart.product_ids
        every, whole = tuple(dict.fromkeys(ids)), self.offers.whole_cart[rows].tolist()
        if not len(self.cart):
            return [()] * len(rows)
        place = np.full(len(self.offers.kind), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        found: list[dict[str, None]] = [{} for _ in rows]
        wanted = place[self.coupon] >= 0
        pairs = zip(place[self.coupon[wanted]].tolist(), self.line[wanted].tolist(), strict=True)
        for row, line in pairs:
            found[row][ids[line]] = None
        return [every if all_of_it else tuple(f) for all_of_it, f in zip(whole, found, strict=True)]


def coverage(offers: Offers, cart: Cart) -> Coverage:
    """What of the cart each coupon covers."""
    if not len(cart):
        return Coverage(offers, cart, NO_AMOUNTS, NO_AMOUNTS)
    scope = offers.scope
    column = np.fromiter((scope.index.get(one, -1) for one in cart.product_ids), np.int64)
    known = np.flatnonzero(column >= 0)
    parts = [scope.coupons[scope.start[c] : scope.start[c + 1]] for c in column[known].tolist()]
    coupon = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    line = np.repeat(known, [len(part) for part in parts])
    return Coverage(offers, cart, coupon, line)


def worth(cover: Coverage, rows: np.ndarray) -> np.ndarray:
    """What the coupons in ``rows`` are worth on a cart, in minor units: int64, one value a row.

    0 where the cart's total is below the minimum spend or nothing in it is covered. Apart from a
    gift it is never more than the covered amount.
    """
    offers, covered_amount = cover.offers, cover.amounts[rows]
    kind, value = offers.kind[rows], offers.value[rows]
    percent = (covered_amount * np.where(kind == PERCENT, value, 0) + 50) // 100
    money = np.where(kind == PERCENT, percent, np.minimum(value, covered_amount))
    is_gift, covers = kind == GIFT, covered_amount > 0
    if is_gift.any():
        covers |= is_gift & cover.touched[rows]
    off = np.where(is_gift, value, np.minimum(money, offers.max_discount[rows]))
    applies = (cover.cart.total >= offers.min_spend[rows]) & covers & (kind != UNSTATED)
    return np.where(applies, off, 0)


def quotes(rows: np.ndarray, cover: Coverage) -> list[Quote | None]:
    """A quote for every row; None for a coupon whose discount nobody states."""
    if (cover.offers.kind[rows] == UNSTATED).all():
        return [None] * len(rows)
    offers, total = cover.offers, cover.cart.total
    amount = cover.amounts[rows]
    values = worth(cover, rows).tolist()
    products = cover.products(rows)
    missing = np.maximum(offers.min_spend[rows] - total, 0).tolist()
    kinds, stated = offers.kind[rows].tolist(), offers.value[rows].tolist()
    return [
        None
        if kind == UNSTATED
        else Quote(
            type=DISCOUNT_TYPES[kind],
            value=stated[place],
            amount_off=0 if kind in (GIFT, CASHBACK) else values[place],
            cashback=values[place] if kind == CASHBACK else 0,
            gift_value=values[place] if kind == GIFT else 0,
            applies_to=products[place],
            covered_amount=int(amount[place]),
            missing_spend=missing[place],
            missing_product=not products[place],
        )
        for place, kind in enumerate(kinds)
    ]
