"""Quotes: the discount of each coupon on a cart, as an answer states it.

`discounts` computes the amounts, and applies the minimum spend and the cap (`max_discount`).
"""

from dataclasses import dataclass

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from serving.candidates.discounts import CASHBACK, GIFT, Coverage, discount_amounts
from serving.candidates.unstated import UNSTATED


@dataclass(frozen=True)
class Quote:
    """The effect of a coupon on a cart; money is in minor units.

    ``amount_off`` comes off the cart at once, ``cashback`` is paid back later, and ``gift_value``
    is the value of the gift. ``applies_to`` has the cart's products that the coupon covers, and
    ``covered_amount`` is their amount. ``missing_spend`` is the amount that the cart, or its
    covered lines, lack to the coupon's minimum. With ``missing_product``, the cart lacks a covered
    product. Without a cart, both state what the coupon would need.
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


def quotes(rows: np.ndarray, cover: Coverage) -> list[Quote | None]:
    """Builds a quote for every row; None for a coupon without a stated discount.

    A coupon of 20 percent with a cap of 3.00, on a cart of 25.00:

    >>> from feature_repo.transforms.request.cart import CartLine
    >>> from feature_repo.transforms.request.scope import Scope
    >>> from serving.candidates.cart import cart_of
    >>> from serving.candidates.discounts import PERCENT, Discounts, coverage
    >>> one = [np.array([value]) for value in (PERCENT, 20, 0, 300, True)]
    >>> discounts = Discounts(*one, scope=Scope.from_lists([[]]))
    >>> cover = coverage(discounts, cart_of([CartLine("wine", 2, 1_250)]))
    >>> (quote,) = quotes(np.array([0]), cover)
    >>> quote.amount_off, quote.covered_amount, quote.applies_to
    (300, 2500, ('wine',))
    """
    if (cover.discounts.kind[rows] == UNSTATED).all():
        return [None] * len(rows)
    discounts = cover.discounts
    amount = cover.amounts[rows]
    values = discount_amounts(cover, rows).tolist()
    products = cover.covered_products(rows)
    missing = np.maximum(discounts.min_spend[rows] - cover.spend(rows), 0).tolist()
    kinds, stated = discounts.kind[rows].tolist(), discounts.value[rows].tolist()
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
