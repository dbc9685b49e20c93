"""The cart of a request, and the amount of each of its lines in minor units.

Numbers count as the decimals that they are written as: 1.015 is 1015 / 1000, and not the binary
fraction nearest to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np

from feature_repo.contract import LARGEST
from feature_repo.transforms.request.cart import CartLine


@dataclass(frozen=True)
class Cart:
    """The lines of a cart: product, units, and amount in minor units (int64).

    The first ``goods`` lines are goods. The others are deductions, such as a returned deposit or a
    voucher: they lower the total and what a coupon covers, and no coupon is for them.
    """

    product_ids: tuple[str, ...]
    quantities: tuple[float, ...]
    amounts: np.ndarray
    goods: int

    def __len__(self) -> int:
        return len(self.product_ids)

    @property
    def has_deductions(self) -> bool:
        """True if a line lowers the total."""
        return self.goods < len(self.product_ids)

    @cached_property
    def total(self) -> int:
        """The sum of the amounts of all lines, in minor units; 0 if deductions exceed it."""
        return max(int(self.amounts.sum()), 0)


def line_amount(quantity: float, unit_price: float) -> int:
    """Returns quantity x unit price (minor units), rounded once, a half away from zero.

    The product of the two decimals is exact. The result is at most LARGEST either way.

    >>> line_amount(1.5, 3), line_amount(0.25, 1), line_amount(0.435, 1_990)
    (5, 0, 866)
    >>> line_amount(1_000, 3.49), line_amount(100, 101.5), line_amount(1, -0.5)
    (3490, 10150, -1)
    """
    units, price = int(quantity), int(unit_price)
    if units == quantity and price == unit_price:
        return max(min(units * price, LARGEST), -LARGEST)
    units, parts = decimal_ratio(quantity)
    price, price_parts = decimal_ratio(unit_price)
    product, parts = units * price, parts * price_parts
    amount = min((2 * abs(product) + parts) // (2 * parts), LARGEST)
    return amount if product >= 0 else -amount


_MOST_EXACT = 10**15
"""Below it, no two decimals with a whole numerator have the same float."""


def decimal_ratio(value: float) -> tuple[int, int]:
    """Returns numerator and denominator of the shortest decimal that reads as this float.

    >>> decimal_ratio(2.0), decimal_ratio(0.435), decimal_ratio(1.015)
    ((2, 1), (435, 1000), (1015, 1000))
    """
    whole = int(value)
    if whole == value:
        return whole, 1
    # Division of whole numbers is rounded correctly, so equality proves the decimal.
    thousandths = round(value * 1_000)
    if thousandths / 1_000 == value and abs(thousandths) < _MOST_EXACT:
        return thousandths, 1_000
    return Decimal(repr(float(value))).as_integer_ratio()


def minor_units(amount: float, minor: int) -> float:
    """Returns an amount of major units in minor units, as the float nearest to the decimal.

    >>> minor_units(1.015, 100), minor_units(0.29, 100), minor_units(0.0349, 100)
    (101.5, 29.0, 3.49)
    """
    # Division of whole numbers is rounded correctly, so equality proves the decimal.
    whole = round(amount * minor)
    if whole / minor == amount and abs(whole) < _MOST_EXACT:
        return float(whole)
    numerator, denominator = decimal_ratio(amount)
    return numerator * minor / denominator


NO_AMOUNTS = np.empty(0, dtype=np.int64)


def cart_of(lines: Sequence[CartLine], deductions: Sequence[CartLine] = ()) -> Cart:
    """Builds the cart of goods and deductions, whose unit prices are in minor units, not rounded.

    >>> cart = cart_of([CartLine("bread", 2, 249), CartLine("cheese", 0.35, 1_000)])
    >>> cart.amounts.tolist(), cart.total
    ([498, 350], 848)
    >>> cart_of([CartLine("beer", 6, 90)], [CartLine("deposit", 6, -25)]).total
    390
    """
    if not lines and not deductions:
        return Cart((), (), NO_AMOUNTS, 0)
    every = [*lines, *deductions]
    amounts = [line_amount(one.quantity, one.unit_price) for one in every]
    return Cart(
        tuple(one.product_id for one in every),
        tuple(float(one.quantity) for one in every),
        np.array(amounts, dtype=np.int64),
        len(lines),
    )
