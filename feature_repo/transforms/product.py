"""What is known of a product, published at the UTC midnights at which it changes."""

import ibis
from ibis import _

from feature_repo.transforms.changes import (
    Stage,
    add_changes,
    distinct_changes,
    first_description,
    newest_description,
    next_midnight,
    running,
    window_changes,
)
from feature_repo.transforms.request import WINDOWS
from feature_repo.transforms.user import introductions

_SUMS = {
    "purchase_count": (*WINDOWS, None),
    "quantity": (30, 90),
    "revenue": (30, 90),
    "discount": (30, 90),
}


def details(products: ibis.Table) -> ibis.Table:
    """The view ``product_details``: the description of the product that counts."""
    newest = newest_description(products, "product_id")
    named = {
        "product_name": newest["name"],
        "is_private_label": newest.is_private_label.cast("int64"),
    }
    return newest.select("product_id", "at", "department", "category", "brand", **named)


def attributes(products: ibis.Table) -> ibis.Table:
    """Department, category and brand of a product by its first description."""
    return first_description(products, "product_id").select(
        "product_id", "department", "category", "brand"
    )


def daily(bought: ibis.Table, by: list[str]) -> ibis.Table:
    """Purchases summed over what enters, expires and leaves at the same midnights."""
    # A whole number of days after the event's own midnight is where each window ends.
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
        **{name: kept[name].sum().cast("int64") for name in sums}
    )


def sales_stats(by_user: ibis.Table, products: ibis.Table, stage: Stage) -> ibis.Table:
    """The view ``product_sales_stats``; ``by_user`` is ``daily`` by product and user."""
    key = ["product_id"]
    by_product = by_user.group_by(["product_id", "event_us", "enters", "leaves"]).agg(
        **{name: by_user[name].sum().cast("int64") for name in _SUMS}
    )
    sums = window_changes(stage(by_product), key, _SUMS)
    repeat = window_changes(by_user, ["product_id", "user_id"], {"purchase_count": [90, None]})
    buyers = distinct_changes(
        repeat,
        ["product_id", "user_id"],
        key,
        {
            "buyer_count_90d": ("purchase_count_90d", 1),
            "repeat_buyer_count_90d": ("purchase_count_90d", 2),
            "buyer_count_all": ("purchase_count_all", 1),
        },
    )
    changes = add_changes([sums, buyers, introductions(products, key)], key)
    points = running(changes, key, [c for c in changes.columns if c not in ("product_id", "at")])
    return points.mutate(
        unit_price_30d=_ratio(_.revenue_30d, _.quantity_30d),
        discount_rate_30d=_ratio(_.discount_30d, _.revenue_30d + _.discount_30d),
        repeat_buyer_rate_90d=_ratio(_.repeat_buyer_count_90d, _.buyer_count_90d),
    )


def _ratio(part, whole):
    """Part of whole, null where the whole is nothing."""
    return part.cast("float64") / whole.nullif(0).cast("float64")
