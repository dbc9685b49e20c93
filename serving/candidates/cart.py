"""A cart and the cost of its lines, in minor units."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import LARGEST
from feature_repo.transforms.request.affinity import CartLine


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


def line_amount(quantity: float, unit_price: int) -> int:
    """What a line costs: the exact product, rounded to the nearest minor unit, a half upward."""
    units, parts = quantity.as_integer_ratio()
    return min((2 * units * unit_price + parts) // (2 * parts), LARGEST)


NO_AMOUNTS = np.empty(0, dtype=np.int64)


def cart_of(lines: Sequence[CartLine]) -> Cart:
    """The cart of these lines, whose unit prices are whole minor units."""
    if not lines:
        return Cart((), (), NO_AMOUNTS)
    amounts = [line_amount(float(one.quantity), int(one.unit_price)) for one in lines]
    return Cart(
        tuple(one.product_id for one in lines),
        tuple(float(one.quantity) for one in lines),
        np.array(amounts, dtype=np.int64),
    )
