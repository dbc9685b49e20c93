"""The raw tables of Clipwise: the single definition of every table and column.

Adapters yield these tables, validation checks rows against them, and the lake stores them. Ids are
strings. Money is int64 minor units (cents). Time is UTC in microseconds; a source with naive time
must name its zone. Every row has two instants: ``event_timestamp``, when it happened or takes
effect, and ``created_timestamp``, when we learned it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from feature_repo.contract.table import LARGEST, Column, Parent, Table, days, limit, money, times
from feature_repo.names import PLACEMENTS

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1

EVENT_TYPES = ("view", "search", "favorite", "cart", "purchase")
DISCOUNT_TYPES = ("percent", "amount_off", "amount_off_over_threshold", "gift", "cashback")
AUDIENCES = ("targeted", "open")
MIN_SPEND_BASES = ("cart", "covered")

MINOR_UNITS = 100
"""Minor units (cents) in one major unit."""

USERS = Table(
    "users",
    "A shopper or household, and its description.",
    ("user_id",),
    (
        Column("user_id", "string", "Identifies the user."),
        *times("When this description of the user took effect."),
        Column("age_min", "int64", "Lower bound of the age band, in years.", True, 0, 150),
        money("income_min", "Lower bound of yearly income"),
        Column("household_size", "int64", "People in the household.", True, 1, 100),
        Column("kids_count", "int64", "Children in the household.", True, 0, 100),
        Column("is_homeowner", "bool", "True if the household owns its home.", True),
        Column("is_married", "bool", "True if the head of the household is married.", True),
    ),
)

PRODUCTS = Table(
    "products",
    "A product that can be bought and that a coupon can cover.",
    ("product_id",),
    (
        Column("product_id", "string", "Identifies the product."),
        *times("When this description of the product took effect."),
        Column("name", "string", "The name that shoppers read.", True),
        Column("department", "string", "Coarsest level of the product hierarchy.", True),
        Column("category", "string", "Level below the department.", True),
        Column("brand", "string", "Brand or manufacturer.", True),
        Column("is_private_label", "bool", "True for the retailer's own brand.", True),
    ),
)

COUPONS = Table(
    "coupons",
    "One coupon in one campaign. The same code in another campaign is another coupon.",
    ("coupon_id",),
    (
        Column("coupon_id", "string", "Identifies the coupon, unique over all campaigns."),
        *times("When the coupon was announced, before its first exposure."),
        Column("coupon_code", "string", "The code as printed; other campaigns may use it again."),
        Column("campaign_id", "string", "The campaign of the coupon."),
        Column(
            "campaign_type",
            "string",
            "The campaign's type, in the retailer's own classification.",
            True,
        ),
        Column(
            "audience",
            "string",
            "Users who may see it: exposed users (targeted) or all users (open).",
            allowed=AUDIENCES,
        ),
        Column(
            "discount_type",
            "string",
            "Kind of discount; null where the source does not state it.",
            True,
            allowed=DISCOUNT_TYPES,
        ),
        Column(
            "discount_value",
            "int64",
            "Size of the discount: whole percent for percent, else minor units.",
            True,
            0,
            LARGEST,
            unit="percent or cents",
        ),
        money("min_spend", "Cart value from which the coupon applies"),
        Column("valid_from", "timestamp", "First instant at which it can be used."),
        Column("valid_to", "timestamp", "First instant at which it can no longer be used."),
        limit(
            "per_user_limit",
            "Most redemptions by one user. Not stated, a coupon is not shown again once its "
            "redemption by the user is known",
        ),
        Column(
            "covers_whole_cart",
            "bool",
            "True for a coupon without coupon_products that covers every product. Without both, it "
            "covers nothing and is not shown.",
            True,
        ),
        Column(
            "has_terms",
            "bool",
            "True if the coupon must not be shown without its row of coupon_terms; null: where it "
            "has none, it has no such limits.",
            True,
        ),
    ),
    ordered=(("valid_from", "valid_to"), ("event_timestamp", "valid_to")),
)

COUPON_PRODUCTS = Table(
    "coupon_products",
    "A product that a coupon covers. All pairs of a coupon are its scope.",
    ("coupon_id", "product_id"),
    (
        Column("coupon_id", "string", "The coupon."),
        Column("product_id", "string", "A product it covers."),
        *times("When the pair was announced."),
    ),
    parents=(
        Parent("coupon_id", "coupons", "coupon_id"),
        Parent("product_id", "products", "product_id"),
    ),
)

COUPON_TERMS = Table(
    "coupon_terms",
    "The limits on the use of a coupon, where the retailer states them. This table is optional.",
    ("coupon_id",),
    (
        Column("coupon_id", "string", "The coupon."),
        *times("When these terms of the coupon took effect."),
        Column(
            "placements",
            "string",
            "Where it may be shown, as in 'home cart'; null: everywhere.",
            True,
            allowed=PLACEMENTS,
            several=True,
        ),
        limit("total_limit", "Most redemptions by all users together"),
        limit("period_limit", "Most redemptions by one user within period_days"),
        days("period_days", "Length of the sliding period of period_limit, in days"),
        money(
            "campaign_budget",
            "Most that all coupons of its campaign may cost together; if several are stated, the "
            "smallest counts",
        ),
        money("user_budget", "Most that the coupons of its campaign may cost for one user"),
        money("max_discount", "Most that one use of the coupon takes off or pays back"),
        Column(
            "exclusivity_group",
            "string",
            "Among coupons with the same text only the best is shown; null: none.",
            True,
        ),
        limit("impression_limit", "Most answers within impression_days that show it to one user"),
        days("impression_days", "Length of the period of impression_limit, in days"),
        Column(
            "min_margin",
            "int64",
            "Smallest margin, in whole percent: the part of the price paid for the covered "
            "products that must remain after their unit_cost; null: any.",
            True,
            0,
            100,
        ),
        Column(
            "gift_product_id", "string", "The product that the user receives; null: no gift.", True
        ),
        Column(
            "min_spend_basis",
            "string",
            "Lines whose amount must reach coupons.min_spend: those of the whole cart (cart) or "
            "of the covered products (covered); null: cart.",
            True,
            allowed=MIN_SPEND_BASES,
        ),
    ),
    parents=(
        Parent("coupon_id", "coupons", "coupon_id"),
        Parent("gift_product_id", "products", "product_id"),
    ),
    together=(("period_limit", "period_days"), ("impression_limit", "impression_days")),
)

PRODUCT_TERMS = Table(
    "product_terms",
    "The limits that a coupon for the product must respect, where the retailer states them. This "
    "table is optional.",
    ("product_id",),
    (
        Column("product_id", "string", "The product."),
        *times("When these terms of the product took effect."),
        Column("stock", "int64", "Units that can be sold; null: no limit.", True, 0, LARGEST),
        money("unit_cost", "Cost of one unit to the retailer"),
    ),
    parents=(Parent("product_id", "products", "product_id"),),
)

EXPOSURES = Table(
    "exposures",
    "A user joined the audience of a campaign. From then on its coupons are candidates.",
    ("exposure_id",),
    (
        Column(
            "exposure_id", "string", "Identifies the exposure; training groups carry it as qid."
        ),
        *times("When the campaign reached the user."),
        Column("user_id", "string", "The exposed user."),
        Column("campaign_id", "string", "The campaign."),
    ),
    parents=(
        Parent("user_id", "users", "user_id"),
        Parent("campaign_id", "coupons", "campaign_id"),
    ),
)

EVENTS = Table(
    "events",
    "An action of a user. A purchase is one row for each product and basket. A return is a "
    "correction of its purchase: same id, learned later, with the remaining quantity and amount.",
    ("event_id",),
    (
        Column("event_id", "string", "Identifies the event."),
        *times("When the action happened."),
        Column("user_id", "string", "The acting user."),
        Column("event_type", "string", "The kind of action.", allowed=EVENT_TYPES),
        Column("product_id", "string", "The product; null for a search.", True),
        Column("basket_id", "string", "The basket or visit that it belongs to.", True),
        Column("quantity", "int64", "Units; 0 is legal.", True, 0, LARGEST),
        money("amount", "Amount that the retailer received for the row"),
        money("retail_discount", "Discount by the retailer's own promotion"),
        money("coupon_discount", "Discount by a coupon"),
        money("coupon_match_discount", "Amount that the retailer added to a coupon's discount"),
    ),
    parents=(
        Parent("user_id", "users", "user_id"),
        Parent("product_id", "products", "product_id"),
    ),
    partitioned=True,
)

REDEMPTIONS = Table(
    "redemptions",
    "A user used a coupon.",
    ("redemption_id",),
    (
        Column("redemption_id", "string", "Identifies the redemption."),
        *times("When the coupon was used."),
        Column("user_id", "string", "The user of the coupon."),
        Column("coupon_id", "string", "The coupon used."),
        Column("basket_id", "string", "The basket in which it was used, if known.", True),
        money("discount_amount", "Discount by the coupon, if known"),
        Column(
            "canceled_timestamp",
            "timestamp",
            "When the redemption was taken back, as its order was canceled or returned; null: it "
            "stands. From then on it counts neither as a use nor as a label.",
            True,
        ),
    ),
    parents=(
        Parent("user_id", "users", "user_id"),
        Parent("coupon_id", "coupons", "coupon_id"),
    ),
    ends="canceled_timestamp",
)

# Parents come before their children, so that a batch can be checked in this order.
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            USERS,
            PRODUCTS,
            COUPONS,
            COUPON_PRODUCTS,
            COUPON_TERMS,
            PRODUCT_TERMS,
            EXPOSURES,
            EVENTS,
            REDEMPTIONS,
        )
    }
)


def arrow_schema(table: Table) -> "pa.Schema":
    """Returns the Arrow schema of a raw table, with timestamps in UTC microseconds."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(
        [pa.field(column.name, types[column.type], column.nullable) for column in table.columns]
    )
