"""The cart of a request, and the amount of each of its lines in minor units."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import LARGEST
from feature_repo.transforms.request.cart import CartLine


@dataclass(frozen=True)
class Cart:
    """The lines of a cart: product, units, and amount in minor units (int64)."""

    product_ids: tuple[str, ...]
    quantities: tuple[float, ...]
    amounts: np.ndarray

    def __len__(self) -> int:
        return len(self.product_ids)

    @cached_property
    def total(self) -> int:
        """The sum of the amounts of all lines, in minor units."""
        return int(self.amounts.sum())


def line_amount(quantity: float, unit_price: int) -> int:
    """Returns quantity x unit price, rounded once to the nearest minor unit, a half upward.

    The product is exact, and at most LARGEST.

    >>> line_amount(1.5, 3), line_amount(0.25, 1)
    (5, 0)
    """
    units, parts = quantity.as_integer_ratio()
    return min((2 * units * unit_price + parts) // (2 * parts), LARGEST)


NO_AMOUNTS = np.empty(0, dtype=np.int64)


def cart_of(lines: Sequence[CartLine]) -> Cart:
    """Builds the cart of these lines, whose unit prices are whole minor units.

    >>> cart = cart_of([CartLine("bread", 2, 249), CartLine("cheese", 0.35, 1_000)])
    >>> cart.amounts.tolist(), cart.total
    ([498, 350], 848)
    """
    if not lines:
        return Cart((), (), NO_AMOUNTS)
    amounts = [line_amount(float(one.quantity), int(one.unit_price)) for one in lines]
    return Cart(
        tuple(one.product_id for one in lines),
        tuple(float(one.quantity) for one in lines),
        np.array(amounts, dtype=np.int64),
    )
