"""The entity product and its feature views."""

from feast import Entity, ValueType
from feast.types import Float64, Int64, String

from feature_repo.transforms.request.ranker_inputs import WINDOWS
from feature_repo.views import lake_view

product = Entity(
    name="product",
    join_keys=["product_id"],
    value_type=ValueType.STRING,
    description="A product that can be bought and that a coupon can cover.",
)

_VERSION = "of the version of the product, learned last, that counts at t"

product_details = lake_view(
    product,
    "product_details",
    "The description of the product; published at each change.",
    {
        "product_name": (String, f"name {_VERSION}."),
        "department": (String, f"department {_VERSION}."),
        "category": (String, f"category {_VERSION}."),
        "brand": (String, f"brand {_VERSION}."),
        "is_private_label": (Int64, f"is_private_label {_VERSION}, as 0 or 1."),
    },
)

_EVENTS = "rows of events with event_type 'purchase' of the product"
_AT = "that count at m, the last UTC midnight before t"


def _over(days: int | None) -> str:
    return _AT if days is None else f"{_AT}, with m - {days} days <= event_timestamp"


product_sales_stats = lake_view(
    product,
    "product_sales_stats",
    "Sales of the product, as of the last UTC midnight; published at midnights at which they "
    "change, and with zeros when the product becomes known.",
    {f"purchase_count_{days}d": (Int64, f"Number of {_EVENTS} {_over(days)}.") for days in WINDOWS}
    | {"purchase_count_all": (Int64, f"Number of {_EVENTS} {_AT}.")}
    | {
        f"{name}_{days}d": (Int64, f"Sum of {term} over {_EVENTS} {_over(days)}.")
        for name, term in {
            "quantity": "quantity (null as 0)",
            "revenue": "amount (minor units, null as 0)",
            "discount": "retail_discount + coupon_discount + coupon_match_discount (minor units, "
            "each null as 0)",
        }.items()
        for days in (30, 90)
    }
    | {
        "buyer_count_90d": (Int64, f"Number of distinct user_id over {_EVENTS} {_over(90)}."),
        "buyer_count_all": (Int64, f"Number of distinct user_id over {_EVENTS} {_AT}."),
        "repeat_buyer_count_90d": (
            Int64,
            f"Number of distinct user_id with at least two {_EVENTS} {_over(90)}.",
        ),
        "unit_price_30d": (
            Float64,
            "revenue_30d / quantity_30d, in minor units; null where quantity_30d is 0.",
        ),
        "discount_rate_30d": (
            Float64,
            "discount_30d / (revenue_30d + discount_30d); null where that sum is 0.",
        ),
        "repeat_buyer_rate_90d": (
            Float64,
            "repeat_buyer_count_90d / buyer_count_90d; null where buyer_count_90d is 0.",
        ),
    },
)

VIEWS = [product_details, product_sales_stats]
