"""The entity user and its feature views."""

from feast import Entity, ValueType
from feast.types import Array, FeastType, Float64, Int64, String

from feature_repo.transforms.history.purchase_history import CAP
from feature_repo.transforms.request.affinity import HISTORY_HALF_LIFE_DAYS, KINDS
from feature_repo.transforms.request.ranker_inputs import WINDOWS
from feature_repo.views import lake_view

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A shopper or household.",
)

Int64Array = Array(Int64)

_EVENTS = "rows of events with event_type 'purchase' of the user"

_PURCHASE_MEASURES = {
    "purchase_count": f"Number of {_EVENTS}",
    "spend": f"Sum of amount (minor units, null as 0) over {_EVENTS}",
    "basket_count": f"Number of distinct values of basket_id, or event_id if null, over {_EVENTS}",
    "visit_day_count": f"Number of distinct UTC days of event_timestamp over {_EVENTS}",
    "discounted_purchase_count": (
        f"Number of {_EVENTS} with retail_discount + coupon_discount + coupon_match_discount (each "
        "null as 0) > 0"
    ),
    "retail_discount": f"Sum of retail_discount (minor units, null as 0) over {_EVENTS}",
    "coupon_purchase_count": f"Number of {_EVENTS} with coupon_discount > 0",
    "coupon_discount": f"Sum of coupon_discount (minor units, null as 0) over {_EVENTS}",
}


def _windows(measures: dict[str, str]) -> dict[str, tuple[FeastType, str]]:
    """Builds the fields of windowed measures: t - w <= event_timestamp < t for w days at t."""
    return {
        f"{name}_{days}d": (
            Int64,
            f"{text} that count at t with t - {days} days <= event_timestamp; "
            "0 from when the user is known.",
        )
        for name, text in measures.items()
        for days in WINDOWS
    }


user_purchase_stats = lake_view(
    user,
    "user_purchase_stats",
    "Purchases, spend and discounts over 7, 30 and 90 days; published at each change.",
    _windows(_PURCHASE_MEASURES)
    | {
        "purchase_count_all": (Int64, f"Number of {_EVENTS} that count at t."),
        "last_purchase_timestamp": (
            Int64,
            f"Latest event_timestamp over {_EVENTS} that count at t.",
        ),
        "last_coupon_purchase_timestamp": (
            Int64,
            f"Latest event_timestamp over {_EVENTS} with coupon_discount > 0 that count at t.",
        ),
        "spend_decayed_sum_30d": (
            Float64,
            "Sum of amount (minor units, null as 0) * 2 ** (-(reference - event_timestamp) / 30 "
            f"days) over {_EVENTS} that count at t, where reference is "
            "spend_decayed_reference_timestamp.",
        ),
        "spend_decayed_reference_timestamp": (
            Int64,
            "Instant to which spend_decayed_sum_30d is decayed: this row's event_timestamp.",
        ),
    },
)

user_redemption_stats = lake_view(
    user,
    "user_redemption_stats",
    "Redemptions of the user, in windows, by coupon and by campaign; published at each change.",
    _windows({"redemption_count": "Number of redemptions of the user"})
    | {
        "redemption_count_all": (Int64, "Number of redemptions of the user that count at t."),
        "last_redemption_timestamp": (
            Int64,
            "Latest event_timestamp over the user's redemptions that count at t.",
        ),
        "redeemed_coupon_ids": (
            Array(String),
            "Distinct coupon_id of the user's redemptions that count at t, sorted; null: none.",
        ),
        "redeemed_coupon_counts": (
            Array(Int64),
            "Number of redemptions of each coupon in redeemed_coupon_ids, in the same order.",
        ),
        "redeemed_coupon_counts_7d": (
            Array(Int64),
            "The same numbers, of redemptions with t - 7 days <= event_timestamp.",
        ),
        "redeemed_campaign_ids": (
            Array(String),
            "Distinct campaign_id of the coupons (by their first version, known before t) of the "
            "user's redemptions that count at t, sorted; null: none.",
        ),
        "redeemed_campaign_counts": (
            Array(Int64),
            "Number of redemptions in each campaign in redeemed_campaign_ids, in the same order.",
        ),
    },
)

user_exposure_stats = lake_view(
    user,
    "user_exposure_stats",
    "The campaigns that reached the user; published at each change.",
    {
        "exposure_count_all": (Int64, "Number of exposures of the user that count at t."),
        "campaign_ids": (
            Array(String),
            "Distinct campaign_id of the user's exposures that count at t, sorted; null: none.",
        ),
    },
)

user_campaign_stats = lake_view(
    user,
    "user_campaign_stats",
    "The user's own covered baskets, as defined in coupon_campaign_stats; published at the UTC "
    "midnights at which they change.",
    {
        "basket_coupon_ids": (
            Array(String),
            "Distinct coupon_id of the user's covered baskets at m, the last UTC midnight before "
            "t, if m is not after the coupon's valid_to (by its first version), sorted; null: "
            "none.",
        ),
        "basket_coupon_counts": (
            Array(Int64),
            "Number of the user's covered baskets of each coupon in basket_coupon_ids at m, in the "
            "same order.",
        ),
    },
)

_DEMOGRAPHIC = "of the version of the user, learned last, that counts at t"

user_demographics = lake_view(
    user,
    "user_demographics",
    "The description of the user; published at each change.",
    {
        "age_min": (Int64, f"age_min {_DEMOGRAPHIC}, in years."),
        "income_min": (Int64, f"income_min {_DEMOGRAPHIC}, in minor units a year."),
        "household_size": (Int64, f"household_size {_DEMOGRAPHIC}."),
        "kids_count": (Int64, f"kids_count {_DEMOGRAPHIC}."),
        "is_homeowner": (Int64, f"is_homeowner {_DEMOGRAPHIC}, as 0 or 1."),
        "is_married": (Int64, f"is_married {_DEMOGRAPHIC}, as 0 or 1."),
    },
)


def _entry_fields(
    part: str, over: str, less: str, counting: str, reference: str
) -> dict[str, tuple[FeastType, str]]:
    """Builds the lists of a view by kind; ``less`` describes the rows that are subtracted."""
    fields: dict[str, tuple[FeastType, str]] = {}
    for kind in KINDS:
        name = f"{part}_{kind}"
        fields[f"{name}_ids"] = (
            Array(String),
            f"Distinct {_IDS[kind]} over {over}; the {CAP} with the largest "
            f"{name}_decayed_90d, in decreasing order of it, ties by id; null: none.",
        )
        fields[f"{name}_counts"] = (Int64Array, f"Number, for each id, of {over}{less}.")
        fields[f"{name}_decayed_90d"] = (
            Array(Float64),
            f"Sum, for each id, of 2 ** (-(reference - event_timestamp) / {HISTORY_HALF_LIFE_DAYS} "
            f"days) over {over}{less}, where reference is {part}_reference_timestamp.",
        )
        fields[f"{name}_last_timestamps"] = (
            Int64Array,
            f"Latest event_timestamp, for each id, over {counting}; 0 if there is none.",
        )
        fields[f"{name}_coupon_counts"] = (
            Int64Array,
            f"Number, for each id, of {over} with coupon_discount > 0{less}.",
        )
        fields[f"{name}_amounts"] = (
            Int64Array,
            f"Sum of amount (minor units, null as 0), for each id, over {over}{less}.",
        )
    fields[f"{part}_reference_timestamp"] = (
        Int64,
        f"Instant to which the weights are decayed: this row's event_timestamp, {reference}.",
    )
    return fields


_IDS = {
    kind: "product_id"
    if kind == "product"
    else f"{kind} (by the first version of the product, and only from when that is known; not null)"
    for kind in KINDS
}

user_purchase_history = lake_view(
    user,
    "user_purchase_history",
    "All purchases of the user, by product, category and brand, as of the last UTC midnight before "
    "t; published at the midnight after each day with a change.",
    _entry_fields(
        "history",
        f"{_EVENTS} that count at the last UTC midnight before t",
        "",
        f"{_EVENTS} that count at the last UTC midnight before t",
        "a UTC midnight",
    ),
)

user_recent_purchases = lake_view(
    user,
    "user_recent_purchases",
    "Changes of user_purchase_history since m, the last UTC midnight before t; published at each "
    "change, and empty at the midnight that ends the day. A purchase of an id is gained if it "
    "counts at t and did not count at m. It is lost if it counted at m and does not count at t. If "
    "its user_id, id, event_timestamp, amount or coupon_discount > 0 was corrected, the old "
    "version is lost and the new one is gained. Other corrections change nothing here.",
    _entry_fields(
        "recent",
        "purchases gained or lost",
        ", a lost one counting -1",
        f"{_EVENTS} that count at t",
        "an instant of the day, or the midnight that ends it",
    ),
)

VIEWS = [
    user_purchase_stats,
    user_redemption_stats,
    user_exposure_stats,
    user_campaign_stats,
    user_demographics,
    user_purchase_history,
    user_recent_purchases,
]
