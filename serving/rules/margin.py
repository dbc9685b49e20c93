"""The margin that a coupon would leave on a cart."""

from collections.abc import Mapping

import numpy as np

from serving.candidates.cart import Cart, line_amount
from serving.candidates.discounts import Coverage, discount_amounts


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
        judged &= cover.covered_sums((~known).astype(np.int64))[rows] == 0
    paid = amount - discount_amounts(cover, rows)
    left = paid - cover.covered_sums(line_costs)[rows]
    return judged & (100 * left < least * paid)
