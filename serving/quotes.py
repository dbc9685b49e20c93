"""What a coupon would take off a cart. Pure functions on whole minor units.

A line costs quantity x unit price, and a percentage is of the sum of the lines that the coupon
covers; both are rounded once, to the nearest minor unit, a half upward: in favor of the shopper
where it is a discount. A line counts for at most 10**12 minor units, the contract's largest amount.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from feature_repo.raw_table import LARGEST
from feature_repo.transforms.affinity import CartLine
from feature_repo.transforms.scope import Scope

NO_LIMIT = 2**62
"""Stands for a limit that nobody states: above every amount and count."""

PERCENT, AMOUNT_OFF, OVER_THRESHOLD, GIFT, CASHBACK = range(len(DISCOUNT_TYPES))
UNSTATED = -1


@dataclass(frozen=True)
class Offers:
    """What ``n`` coupons give, as arrays of ``n``.

    ``kind`` is a position in DISCOUNT_TYPES or UNSTATED; ``value`` is whole percent for PERCENT,
    else minor units; ``min_spend`` is 0 and ``max_discount`` NO_LIMIT where nothing is stated.
    ``scope`` has the covered products; a coupon of ``whole_cart`` covers every one.
    """

    kind: np.ndarray
    value: np.ndarray
    min_spend: np.ndarray
    max_discount: np.ndarray
    whole_cart: np.ndarray
    scope: Scope

    @cached_property
    def most(self) -> np.ndarray:
        """Most that one use can be worth, whatever the cart; NO_LIMIT for an open percentage."""
        fixed = np.where(self.kind == PERCENT, NO_LIMIT, self.value)
        bounded = np.minimum(fixed, np.where(self.kind == GIFT, NO_LIMIT, self.max_discount))
        return np.where(self.kind == UNSTATED, 0, bounded)


@dataclass(frozen=True)
class Cart:
    """The lines of a cart: product, units, and int64 minor units that each line costs."""

    product_ids: tuple[str, ...]
    quantities: tuple[float, ...]
    amounts: np.ndarray

    def __len__(self) -> int:
        return len(self.product_ids)

    @cached_property
    def total(self) -> int:
        """What all lines cost together, in minor units."""
        return int(self.amounts.sum())


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


def line_amount(quantity: float, unit_price: int) -> int:
    """What a line costs: the exact product, rounded to the nearest minor unit, a half upward."""
    units, parts = quantity.as_integer_ratio()
    return min((2 * units * unit_price + parts) // (2 * parts), LARGEST)


_NO_AMOUNTS = np.empty(0, dtype=np.int64)


def cart_of(lines: Sequence[CartLine]) -> Cart:
    """The cart of these lines, whose unit prices are whole minor units."""
    if not lines:
        return Cart((), (), _NO_AMOUNTS)
    amounts = [line_amount(float(one.quantity), int(one.unit_price)) for one in lines]
    return Cart(
        tuple(one.product_id for one in lines),
        tuple(float(one.quantity) for one in lines),
        np.array(amounts, dtype=np.int64),
    )


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
        return Coverage(offers, cart, _NO_AMOUNTS, _NO_AMOUNTS)
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


def costs_of_lines(cart: Cart, unit_costs: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """What each line costs the retailer, in minor units, and whether that is known."""
    known = [one in unit_costs for one in cart.product_ids]
    paid = [
        line_amount(quantity, unit_costs.get(one, 0))
        for one, quantity in zip(cart.product_ids, cart.quantities, strict=True)
    ]
    return np.array(paid, dtype=np.int64), np.array(known, dtype=bool)


def too_thin(
    rows: np.ndarray, cover: Coverage, unit_costs: Mapping[str, int], least: np.ndarray
) -> np.ndarray:
    """Which coupons would leave a smaller part of what is paid than ``least``, in whole percent.

    Paid is what the covered lines cost after the coupon, left is that less their unit costs. Judged
    only where the cart says so: something in it is covered, and the cost of all of that is known.
    """
    line_costs, known = costs_of_lines(cover.cart, unit_costs)
    amount = cover.amounts[rows]
    judged = amount > 0
    if not known.all():
        judged &= cover.total((~known).astype(np.int64))[rows] == 0
    paid = amount - worth(cover, rows)
    left = paid - cover.total(line_costs)[rows]
    return judged & (100 * left < least * paid)


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
