"""The retailer's margin on a cart after a coupon."""

from collections.abc import Mapping

import numpy as np

from serving.candidates.cart import Cart, line_amount
from serving.candidates.discounts import Coverage, discount_amounts


def line_costs(cart: Cart, unit_costs: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the retailer's cost of each line, in minor units, and true where it is known.

    An unknown cost is 0. A deduction of a product without a cost costs nothing.

    >>> from feature_repo.transforms.request.cart import CartLine
    >>> from serving.candidates.cart import cart_of
    >>> cart = cart_of([CartLine("bread", 2, 249), CartLine("wine", 1, 1_250)])
    >>> costs, known = line_costs(cart, {"bread": 120})
    >>> costs.tolist(), known.tolist()
    ([240, 0], [True, False])
    """
    known = [one in unit_costs for one in cart.product_ids[: cart.goods]]
    known += [True] * (len(cart) - cart.goods)
    costs = [
        line_amount(quantity, unit_costs.get(one, 0))
        for one, quantity in zip(cart.product_ids, cart.quantities, strict=True)
    ]
    return np.array(costs, dtype=np.int64), np.array(known, dtype=bool)


def is_below_margin(
    rows: np.ndarray, cover: Coverage, unit_costs: Mapping[str, int], least: np.ndarray
) -> np.ndarray:
    """True where a coupon would leave a margin below ``least``, in whole percent of what is paid.

    The shopper pays the covered lines less the discount. The margin is that less their unit costs.
    False where the coupon covers nothing in the cart. True where the cost of a covered line is
    unknown: a margin that cannot be computed is not kept.
    """
    costs, known = line_costs(cover.cart, unit_costs)
    amount = cover.amounts[rows]
    paid = amount - discount_amounts(cover, rows)
    is_below = 100 * (paid - cover.covered_sums(costs)[rows]) < least * paid
    if not known.all():
        is_below |= cover.covered_sums((~known).astype(np.int64))[rows] > 0
    return (amount > 0) & is_below
