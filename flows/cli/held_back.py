"""Coupons that are held back because a row of their plan is refused, waits or is yet to count."""

from collections.abc import Mapping
from typing import Any

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.publication.plans import newest_published, read_plans

_OF_COUPONS = ("coupons", "coupon_products", "coupon_terms")


def held_back(lake: Lake) -> dict[str, str]:
    """Returns the reason of each coupon that has not ended and is held back at the watermark."""
    state = newest_published(lake)
    if state is None:
        return {}
    instant = microseconds(state.watermark)
    return read_plans(lake, state).as_of(instant).held_back(instant)


def effect(table: str, content: Mapping[str, Any], held: Mapping[str, str]) -> str | None:
    """Returns what a row in quarantine holds back, as a sentence; None if it has no such effect.

    >>> effect("coupon_terms", {"coupon_id": "spring-1"}, {"spring-1": "terms_unknown"})
    'It holds back the coupon spring-1 (terms_unknown).'
    """
    coupon, product = content.get("coupon_id"), content.get("product_id")
    if coupon is not None and table in _OF_COUPONS and coupon in held:
        return f"It holds back the coupon {coupon} ({held[coupon]})."
    if table == "product_terms" and product is not None:
        return f"Until it is repaired, the product {product} counts as out of stock."
    if table == "redemptions" and coupon is not None:
        return f"It counts against the limits of the coupon {coupon}."
    return None
