"""An oracle for all ranker inputs: from raw rows, for one user, coupon and instant.

Stored inputs are the fields that ``brute_force`` computes. Derived inputs follow the definitions in
``DERIVED``. An unknown value is NaN.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from feature_repo.transforms.request.cart import CartLine
from tests.support.brute_force import (
    coupon_campaign_stats,
    coupon_details,
    coupon_popularity_stats,
    coupon_redemption_stats,
    coupon_scope,
    user_campaign_stats,
    user_demographics,
    user_exposure_stats,
    user_purchase_stats,
    user_redemption_stats,
)
from tests.support.brute_histories import CAP, Bought, Measured, bought, decayed, entries
from tests.support.brute_rows import DAY, Raw, last_midnight, money

USER_VIEWS = (
    user_purchase_stats,
    user_redemption_stats,
    user_exposure_stats,
    user_campaign_stats,
    user_demographics,
)
COUPON_VIEWS = (
    coupon_details,
    coupon_scope,
    coupon_popularity_stats,
    coupon_redemption_stats,
    coupon_campaign_stats,
)
PREFIXES = {"product": "own", "category": "category", "brand": "brand"}

FAR = 2**62
"""An instant after all others: a cart's products are described by all that is known."""

Values = dict[str, float | Measured]


def number(value: object) -> float:
    return math.nan if value is None else value


def days(earlier: int | None, later: int | None) -> float:
    return (number(later) - number(earlier)) / DAY


def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


@lru_cache(maxsize=1000)
def fields(raw: Raw, views: Sequence, name: str, t: int) -> dict[str, object]:
    """Returns the stored fields of all views; a view without a row has none."""
    return {field: value for view in views for field, value in (view(raw, name, t) or {}).items()}


def inputs(raw: Raw, user: str, coupon: str, t: int, cart: Sequence[CartLine] = ()) -> Values:
    """Returns all inputs by name."""
    stored = fields(raw, USER_VIEWS, user, t), fields(raw, COUPON_VIEWS, coupon, t)
    numbers = {n: number(v) for part in stored for n, v in part.items() if _is_number(v)}
    return (
        numbers
        | _campaign_type(stored[1].get("campaign_type"))
        | _recencies(raw, user, stored[0], t)
        | {
            "code_redemption_rate_all": _rate(
                stored[1], "code_redemption_count_all", "code_exposure_count_all"
            ),
            "days_left": days(t, stored[1].get("valid_to_timestamp")),
            "days_since_start": days(stored[1].get("valid_from_timestamp"), t),
        }
        | _affinity(raw, user, stored[1], t)
        | _campaign(*stored, coupon)
        | _cart(raw, cart, stored[1])
    )


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _campaign_type(kind: object) -> Values:
    return {f"is_campaign_type_{one.lower()}": float(kind == f"Type {one}") for one in "ABC"}


def _rate(stored: Mapping[str, object], part: str, whole: str) -> float:
    return share(stored.get(part, 0), stored.get(whole, 0))


def _recencies(raw: Raw, user: str, stored: Mapping[str, object], t: int) -> Values:
    mine = raw.purchases(t, user_id=user)
    spent = [(money(row, "amount"), row["event_timestamp"]) for row in mine]
    known = "spend_decayed_sum_30d" in stored
    return {
        "is_new_user": float(not mine),
        "days_since_last_purchase": days(stored.get("last_purchase_timestamp"), t),
        "days_since_last_coupon_purchase": days(stored.get("last_coupon_purchase_timestamp"), t),
        "days_since_last_redemption": days(stored.get("last_redemption_timestamp"), t),
        "spend_decayed_30d": decayed(spent, t, 30) if known else math.nan,
        "user_redemption_rate_all": _rate(stored, "redemption_count_all", "exposure_count_all"),
    }


def _affinity(raw: Raw, user: str, stored: Mapping[str, object], t: int) -> Values:
    out: Values = {}
    total = _weight(raw, user, _listed(raw, user, "product", t), t)
    for kind, prefix in PREFIXES.items():
        scope = set(stored.get(f"scope_{kind}_ids") or ())
        listed = _listed(raw, user, kind, t)
        those = [(sign, one) for sign, one in listed if one.id in scope]
        weight = _weight(raw, user, those, t)
        out[f"{prefix}_purchase_count"] = sum(sign for sign, _one in those)
        out[f"{prefix}_spend"] = sum(sign * one.amount for sign, one in those)
        out[f"{prefix}_purchase_decayed_90d"] = weight
        out[f"{prefix}_purchase_share"] = Measured(share(weight.value, total.value), 1.0)
        if kind == "product":
            counts = {one.id: 0 for _sign, one in those}
            for sign, one in those:
                counts[one.id] += sign
            now = bought(raw, user, "product", t)
            last = max((one.at for one in now if one.id in counts), default=None)
            out["own_product_count"] = sum(count > 0 for count in counts.values())
            out["own_coupon_use_count"] = sum(s for s, one in those if one.with_coupon)
            out["days_since_own_purchase"] = days(last, t)
    return out


def _listed(raw: Raw, user: str, kind: str, t: int) -> list[tuple[int, Bought]]:
    """Lists purchases that count at t of the heaviest ids at midnight, and changes of others."""
    m = last_midnight(t)
    now, then = bought(raw, user, kind, t), bought(raw, user, kind, m)
    kept = entries(then, set(), then, m) if len({one.id for one in then}) > CAP else None
    if kept is None:
        return [(1, one) for one in now]
    signed = [(1, one) for one in now if one.id in kept or one not in then]
    return signed + [(-1, one) for one in then - now if one.id not in kept]


def _weight(raw: Raw, user: str, signed: Sequence[tuple[int, Bought]], t: int) -> Measured:
    """Returns the weight; purchases that were returned since midnight also bound its rounding."""
    weight = decayed([(sign, one.at) for sign, one in signed], t, 90)
    then = [(1.0, one.at) for one in bought(raw, user, "product", last_midnight(t))]
    return Measured(weight.value, weight.scale + decayed(then, t, 90).scale)


def _campaign(user: Mapping[str, object], coupon: Mapping[str, object], name: str) -> Values:
    """Computes the inputs from the campaign so far, from the stored fields."""

    def own(ids: str, counts: str, one: object) -> int:
        found = user.get(ids) or []
        return user[counts][found.index(one)] if one in found else 0

    def stored(field: str) -> float:
        return coupon.get(field) or 0

    baskets = own("basket_coupon_ids", "basket_coupon_counts", name)
    redeemed = own("redeemed_coupon_ids", "redeemed_coupon_counts", name)
    recent = own("redeemed_coupon_ids", "redeemed_coupon_counts_7d", name)
    rate = (stored("campaign_redemption_count_all") + 1) / (
        stored("campaign_covered_basket_count") + 200
    )
    others = stored("coupon_redemption_count_all") - redeemed
    trials = stored("covered_basket_count") - baskets
    return {
        "others_redemption_count_all": max(others, 0),
        "others_redemption_count_7d": max(stored("coupon_redemption_count_7d") - recent, 0),
        "others_covered_basket_count": max(trials, 0),
        "percov": (max(others, 0) + 5 * rate) / (max(trials, 0) + 5),
        "campaign_redemption_rate": rate,
        "own_covered_basket_count": baskets,
        "own_campaign_redemption_count": own(
            "redeemed_campaign_ids", "redeemed_campaign_counts", coupon.get("campaign_id")
        ),
    }


def _cart(raw: Raw, cart: Sequence[CartLine], stored: Mapping[str, object]) -> Values:
    def amount(lines: Sequence[CartLine]) -> float:
        return sum(line.quantity * line.unit_price for line in lines)

    def alike(kind: str) -> list[CartLine]:
        scope = stored.get(f"scope_{kind}_ids") or ()
        firsts = [(raw.first("products", line.product_id, FAR), line) for line in cart]
        return [line for first, line in firsts if first and first[kind] in scope]

    lines = [line for line in cart if line.product_id in (stored.get("scope_product_ids") or ())]
    return {
        "cart_covered_quantity": sum(line.quantity for line in lines),
        "cart_covered_amount": amount(lines),
        "cart_covered_line_count": len(lines),
        "cart_category_amount": amount(alike("category")),
        "cart_brand_amount": amount(alike("brand")),
        "cart_amount": amount(cart),
    }
