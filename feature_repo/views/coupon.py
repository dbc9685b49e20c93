"""The entity coupon and its feature views."""

from feast import Entity, ValueType
from feast.types import Array, Float64, Int64, String

from feature_repo.views import lake_view

coupon = Entity(
    name="coupon",
    join_keys=["coupon_id"],
    value_type=ValueType.STRING,
    description="One coupon in one campaign.",
)

_VERSION = "of the version of the coupon, learned last, that counts at t"

coupon_details = lake_view(
    coupon,
    "coupon_details",
    "The plan of the coupon; published at its announcement and at each change.",
    {
        name: (String, f"{name} {_VERSION}.")
        for name in ("coupon_code", "campaign_id", "campaign_type", "audience", "discount_type")
    }
    | {
        name: (Int64, f"{name} {_VERSION}.")
        for name in ("discount_value", "min_spend", "per_user_limit")
    }
    | {
        "duration_days": (Float64, f"valid_to - valid_from {_VERSION}, in days."),
        "valid_from_timestamp": (Int64, f"valid_from {_VERSION}, in microseconds."),
        "valid_to_timestamp": (Int64, f"valid_to {_VERSION}, in microseconds."),
    },
)

_SCOPE = "over the coupon's coupon_products that count at t"
_FIRST = "by the first version of the product, where that is known before t"

coupon_scope = lake_view(
    coupon,
    "coupon_scope",
    "The scope of the coupon; published at its announcement and when more of its scope is known.",
    {
        "scope_product_count": (Int64, f"Number of distinct product_id {_SCOPE}."),
    }
    | {
        f"scope_{level}_count": (
            Int64,
            f"Number of distinct {level} that is not null ({_FIRST}) {_SCOPE}.",
        )
        for level in ("category", "brand", "department")
    }
    | {"scope_product_ids": (Array(String), f"Distinct product_id {_SCOPE}, sorted; null: none.")}
    | {
        f"scope_{level}_ids": (
            Array(String),
            f"Distinct {level} that is not null ({_FIRST}) {_SCOPE}, sorted; null: none.",
        )
        for level in ("category", "brand")
    },
)

_COVERED = (
    "rows of events with event_type 'purchase' whose product_id is in a coupon_products row of the "
    "coupon, where both count at m, the last UTC midnight before t"
)

coupon_popularity_stats = lake_view(
    coupon,
    "coupon_popularity_stats",
    "Purchases of the covered products by all users, as of the last UTC midnight; published at "
    "midnights at which they change, and with zeros at the announcement.",
    {
        f"covered_purchase_count_{days}d": (
            Int64,
            f"Number of {_COVERED}, with m - {days} days <= event_timestamp.",
        )
        for days in (30, 90)
    }
    | {
        "covered_coupon_purchase_count_90d": (
            Int64,
            f"Number of {_COVERED}, with m - 90 days <= event_timestamp and coupon_discount > 0.",
        ),
        "covered_buyer_count_all": (Int64, f"Number of distinct user_id over {_COVERED}."),
    },
)

_CODE = (
    "of any coupon whose first version has the same coupon_code as the first version of this one, "
    "where both coupons are known before m, the last UTC midnight before t"
)

coupon_redemption_stats = lake_view(
    coupon,
    "coupon_redemption_stats",
    "Redemptions and exposures of the same code in all campaigns, as of the last UTC midnight; "
    "published at midnights at which they change, and with zeros at the announcement.",
    {
        "code_redemption_count_90d": (
            Int64,
            f"Number of redemptions that count at m, with m - 90 days <= event_timestamp, {_CODE}.",
        ),
        "code_redemption_count_all": (Int64, f"Number of redemptions that count at m, {_CODE}."),
        "code_exposure_count_all": (
            Int64,
            "Number of exposures that count at m, each once, to the campaign_id (by the first "
            f"version) {_CODE}.",
        ),
        "typical_discount_all": (
            Float64,
            "Mean of discount_amount (minor units) where not null over redemptions that count at "
            f"m, {_CODE}; 0 if there is none.",
        ),
    },
)

_TERMS = "of the version of the coupon's coupon_terms, learned last, that counts at t"

coupon_terms = lake_view(
    coupon,
    "coupon_terms",
    "The limits on the use of the coupon; published at each change.",
    {
        name: (String, f"{name} {_TERMS}.")
        for name in ("placements", "exclusivity_group", "gift_product_id")
    }
    | {
        name: (Int64, f"{name} {_TERMS}.")
        for name in (
            "total_limit",
            "period_limit",
            "period_days",
            "campaign_budget",
            "user_budget",
            "max_discount",
            "impression_limit",
            "impression_days",
            "min_margin",
        )
    },
)

VIEWS = [coupon_details, coupon_scope, coupon_popularity_stats, coupon_redemption_stats]
