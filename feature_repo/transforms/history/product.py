"""Features of a product, published at the UTC midnights at which they change."""

import ibis
from ibis import _
from ibis.expr.types import FloatingValue, NumericValue

from feature_repo.transforms.history.changes import (
    FAR,
    Stage,
    add_changes,
    distinct_changes,
    first_description,
    newest_description,
    next_midnight,
    running,
    window_changes,
    window_legs,
)
from feature_repo.transforms.history.user import introductions
from feature_repo.transforms.request.ranker_inputs import WINDOWS

_SUMS = {
    "purchase_count": (*WINDOWS, None),
    "quantity": (30, 90),
    "revenue": (30, 90),
    "discount": (30, 90),
}


def details(products: ibis.Table) -> ibis.Table:
    """Builds the view ``product_details``: the version of the product that counts."""
    newest = newest_description(products, "product_id")
    named = {
        "product_name": newest["name"],
        "is_private_label": newest.is_private_label.cast("int64"),
    }
    return newest.select("product_id", "at", "department", "category", "brand", **named)


def attributes(products: ibis.Table) -> ibis.Table:
    """Returns department, category and brand by the first description, and when it is ``known``."""
    return first_description(products, "product_id").select(
        "product_id", "department", "category", "brand", "known"
    )


def daily(bought: ibis.Table, by: list[str]) -> ibis.Table:
    """Sums purchases that enter, expire and leave at the same midnights."""
    bought = bought.filter(bought.product_id.notnull())
    # Each window ends a whole number of days after the midnight that follows the event.
    moved = bought.mutate(
        event_us=next_midnight(bought.event_us),
        enters=next_midnight(bought.enters),
        leaves=next_midnight(bought.leaves),
        discount=bought.retail_discount + bought.coupon_discount + bought.coupon_match_discount,
        revenue=bought.amount,
    )
    kept = moved.filter(moved.leaves > moved.enters)
    sums = ("purchase_count", "quantity", "revenue", "discount", "coupon_purchase_count")
    return kept.group_by([*by, "event_us", "enters", "leaves"]).agg(
        **{name: kept[name].sum() for name in sums}
    )


def sales_stats(by_user: ibis.Table, products: ibis.Table, stage: Stage) -> ibis.Table:
    """Builds the view ``product_sales_stats``; ``by_user`` is ``daily`` by product and user."""
    key = ["product_id"]
    by_product = by_user.group_by(["product_id", "event_us", "enters", "leaves"]).agg(
        **{name: by_user[name].sum() for name in _SUMS}
    )
    repeat = window_changes(by_user, ["product_id", "user_id"], {"purchase_count": [90]})
    buyers = distinct_changes(
        repeat,
        ["product_id", "user_id"],
        key,
        {
            "buyer_count_90d": ("purchase_count_90d", 1),
            "repeat_buyer_count_90d": ("purchase_count_90d", 2),
        },
    )
    parts = [
        window_legs(stage(by_product), key, _SUMS),
        stage(buyers),
        stage(buyers_ever(by_user, key, "buyer_count_all")),
        introductions(products, key),
    ]
    points = running(stage(add_changes(parts, key)), key)
    return points.mutate(
        unit_price_30d=_ratio(_.revenue_30d, _.quantity_30d),
        discount_rate_30d=_ratio(_.discount_30d, _.revenue_30d + _.discount_30d),
        repeat_buyer_rate_90d=_ratio(_.repeat_buyer_count_90d, _.buyer_count_90d),
    )


def buyers_ever(by_user: ibis.Table, key: list[str], column: str) -> ibis.Table:
    """Lists changes of the number of buyers; ``by_user`` has the key, ``enters`` and ``leaves``."""
    # Among purchases without a correction, only the first of a user can change the count.
    lasting = by_user.filter(_.leaves >= FAR).group_by([*key, "user_id"])
    first = lasting.agg(enters=_.enters.min(), leaves=_.leaves.max())
    corrected = by_user.filter(_.leaves < FAR).select(*key, "user_id", "enters", "leaves")
    held = ibis.union(first, corrected).mutate(event_us=_.enters, here=ibis.literal(1, "int64"))
    here = window_changes(held, [*key, "user_id"], {"here": [None]})
    return distinct_changes(here, [*key, "user_id"], key, {column: ("here_all", 1)})


def _ratio(part: NumericValue, whole: NumericValue) -> FloatingValue:
    """Divides part by whole; null if the whole is 0."""
    return part.cast("float64") / whole.nullif(0).cast("float64")
