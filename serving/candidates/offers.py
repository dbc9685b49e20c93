"""Discounts of coupons, as arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.contract import DISCOUNT_TYPES
from feature_repo.transforms.request.scope import Scope

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
