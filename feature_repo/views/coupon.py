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

_OF_CAMPAIGN = (
    "summed over the coupons that are known before {} and have the same campaign_id, each by its "
    "first version"
)

coupon_campaign_stats = lake_view(
    coupon,
    "coupon_campaign_stats",
    "The campaign of the coupon so far; published when a redemption, an exposure or a coupon is "
    "known, and at UTC midnights at which covered baskets change. A covered basket of a coupon at "
    "a midnight m is a (user_id, basket_id, or event_id if null) of purchases that count at m, of "
    "a product with a coupon_products row of the coupon that counts at m, with event_timestamp >= "
    "valid_from. Its user has an exposure that counts at m, to the coupon's campaign, with "
    "event_timestamp <= that of the purchase; a coupon with the audience open needs none. "
    "campaign_id, audience and valid_from are those of the coupon's first version, known before m.",
    {
        "coupon_redemption_count_7d": (
            Int64,
            "Number of redemptions of the coupon that count at t, with t - 7 days <= "
            "event_timestamp.",
        ),
        "coupon_redemption_count_all": (
            Int64,
            "Number of redemptions of the coupon that count at t.",
        ),
        "campaign_redemption_count_all": (
            Int64,
            f"coupon_redemption_count_all, {_OF_CAMPAIGN.format('t')}.",
        ),
        "exposed_user_count": (
            Int64,
            "Number of distinct user_id over exposures that count at t to the coupon's campaign "
            "(by its first version).",
        ),
        "covered_basket_count": (
            Int64,
            "Number of the coupon's covered baskets at m, the last UTC midnight before t.",
        ),
        "campaign_covered_basket_count": (
            Int64,
            "covered_basket_count at m, the last UTC midnight before t, "
            f"{_OF_CAMPAIGN.format('m')}.",
        ),
    },
)

VIEWS = [
    coupon_details,
    coupon_scope,
    coupon_popularity_stats,
    coupon_redemption_stats,
    coupon_campaign_stats,
]
