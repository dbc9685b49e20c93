"""An oracle for all stored features: computed from raw rows, one entity and instant at a time.

It is plain Python, written from the descriptions of the fields alone, and shares no code with the
expressions that it checks. A value that is decayed to a reference instant is a function of that
reference. An entity without a row in a view has None in place of the fields.
"""

from collections.abc import Callable, Mapping

from tests.support.brute_histories import (
    KINDS,
    Fields,
    decayed,
    named,
    user_purchase_history,
    user_recent_purchases,
)
from tests.support.brute_rows import (
    DAY,
    Raw,
    Row,
    discounts,
    last_midnight,
    latest,
    matches,
    money,
    within,
)

WINDOWS = (7, 30, 90)


def user_purchase_stats(raw: Raw, user: str, t: int) -> Fields | None:
    mine = raw.purchases(t, user_id=user)
    bought = any(
        matches(r, {"user_id": user, "event_type": "purchase"}) for r in raw.counted("events", t)
    )
    if not (bought or raw.is_known("users", user, t)):
        return None
    out: Fields = {}
    for days in WINDOWS:
        rows = within(mine, t, days)
        measures = {
            "purchase_count": len(rows),
            "spend": sum(money(r, "amount") for r in rows),
            "basket_count": len(
                {r["event_id"] if r["basket_id"] is None else r["basket_id"] for r in rows}
            ),
            "visit_day_count": len({r["event_timestamp"] // DAY for r in rows}),
            "discounted_purchase_count": sum(discounts(r) > 0 for r in rows),
            "retail_discount": sum(money(r, "retail_discount") for r in rows),
            "coupon_purchase_count": sum(money(r, "coupon_discount") > 0 for r in rows),
            "coupon_discount": sum(money(r, "coupon_discount") for r in rows),
        }
        out |= {f"{name}_{days}d": value for name, value in measures.items()}
    spent = [(money(r, "amount"), r["event_timestamp"]) for r in mine]
    return out | {
        "purchase_count_all": len(mine),
        "last_purchase_timestamp": latest(mine),
        "last_coupon_purchase_timestamp": latest([r for r in mine if money(r, "coupon_discount")]),
        "spend_decayed_sum_30d": lambda reference: decayed(spent, reference, 30),
    }


def user_redemption_stats(raw: Raw, user: str, t: int) -> Fields | None:
    used = any(r["user_id"] == user for r in raw.counted("redemptions", t))
    if not (used or raw.is_known("users", user, t)):
        return None
    mine = [r for r in raw.counting("redemptions", t) if r["user_id"] == user]
    ids = [r["coupon_id"] for r in mine]
    recent = [r["coupon_id"] for r in within(mine, t, 7)]
    plans = [raw.first("coupons", one, t) for one in ids]
    campaigns = [one["campaign_id"] for one in plans if one]
    return {f"redemption_count_{days}d": len(within(mine, t, days)) for days in WINDOWS} | {
        "redemption_count_all": len(mine),
        "last_redemption_timestamp": latest(mine),
        "redeemed_coupon_ids": sorted(set(ids)) or None,
        "redeemed_coupon_counts": [ids.count(one) for one in sorted(set(ids))] or None,
        "redeemed_coupon_counts_7d": [recent.count(one) for one in sorted(set(ids))] or None,
        "redeemed_campaign_ids": sorted(set(campaigns)) or None,
        "redeemed_campaign_counts": [campaigns.count(one) for one in sorted(set(campaigns))]
        or None,
    }


def user_exposure_stats(raw: Raw, user: str, t: int) -> Fields | None:
    reached = any(r["user_id"] == user for r in raw.counted("exposures", t))
    if not (reached or raw.is_known("users", user, t)):
        return None
    mine = [r for r in raw.counting("exposures", t) if r["user_id"] == user]
    campaigns = sorted({r["campaign_id"] for r in mine})
    return {"exposure_count_all": len(mine), "campaign_ids": campaigns or None}


def _plain(row: Row, names: Mapping[str, str]) -> Fields:
    """Returns fields from columns (new name to column), with booleans as 0 or 1."""
    values = {name: row[column] for name, column in names.items()}
    return {n: int(v) if isinstance(v, bool) else v for n, v in values.items()}


def user_demographics(raw: Raw, user: str, t: int) -> Fields | None:
    row = raw.described("users", user, t)
    numbers = ("age_min", "income_min", "household_size", "kids_count")
    names = (*numbers, "is_homeowner", "is_married")
    return row and _plain(row, {name: name for name in names})


def product_details(raw: Raw, product: str, t: int) -> Fields | None:
    row = raw.described("products", product, t)
    names = {n: n for n in ("department", "category", "brand", "is_private_label")}
    return row and _plain(row, names | {"product_name": "name"})


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def product_sales_stats(raw: Raw, product: str, t: int) -> Fields | None:
    m = last_midnight(t)
    rows = raw.purchases(m, product_id=product)
    wanted = {"product_id": product, "event_type": "purchase"}
    sold = any(matches(r, wanted) for r in raw.counted("events", m, daily=True))
    if not (sold or raw.is_known("products", product, t)):
        return None
    out: Fields = {f"purchase_count_{d}d": len(within(rows, m, d)) for d in WINDOWS}
    for days in (30, 90):
        held = within(rows, m, days)
        out[f"quantity_{days}d"] = sum(money(r, "quantity") for r in held)
        out[f"revenue_{days}d"] = sum(money(r, "amount") for r in held)
        out[f"discount_{days}d"] = sum(discounts(r) for r in held)
    buyers = [r["user_id"] for r in within(rows, m, 90)]
    repeat = {user for user in buyers if buyers.count(user) >= 2}
    discounted = out["discount_30d"]
    return out | {
        "purchase_count_all": len(rows),
        "buyer_count_90d": len(set(buyers)),
        "buyer_count_all": len({r["user_id"] for r in rows}),
        "repeat_buyer_count_90d": len(repeat),
        "unit_price_30d": ratio(out["revenue_30d"], out["quantity_30d"]),
        "discount_rate_30d": ratio(discounted, out["revenue_30d"] + discounted),
        "repeat_buyer_rate_90d": ratio(len(repeat), len(set(buyers))),
    }


COUPON_DETAILS = (
    "coupon_code",
    "campaign_id",
    "campaign_type",
    "audience",
    "discount_type",
    "discount_value",
    "min_spend",
    "per_user_limit",
)


def coupon_details(raw: Raw, coupon: str, t: int) -> Fields | None:
    row = raw.described("coupons", coupon, t)
    if row is None:
        return None
    names = {n: n for n in COUPON_DETAILS}
    names |= {"valid_from_timestamp": "valid_from", "valid_to_timestamp": "valid_to"}
    return _plain(row, names) | {"duration_days": (row["valid_to"] - row["valid_from"]) / DAY}


def covered(raw: Raw, coupon: str, t: int) -> set[str]:
    pairs = raw.counting("coupon_products", t)
    return {row["product_id"] for row in pairs if row["coupon_id"] == coupon}


def coupon_scope(raw: Raw, coupon: str, t: int) -> Fields | None:
    products = covered(raw, coupon, t)
    if not (products or raw.is_known("coupons", coupon, t)):
        return None
    out: Fields = {}
    for kind in (*KINDS, "department"):
        ids = {named(raw, one, kind, t) for one in products} - {None}
        out[f"scope_{kind}_count"] = len(ids)
        if kind != "department":
            out[f"scope_{kind}_ids"] = sorted(ids) or None
    return out


def _popularity(raw: Raw, coupon: str, m: int) -> Fields:
    products = covered(raw, coupon, m)
    rows = [r for r in raw.purchases(m) if r["product_id"] in products]
    recent = within(rows, m, 90)
    return {
        "covered_purchase_count_30d": len(within(rows, m, 30)),
        "covered_purchase_count_90d": len(recent),
        "covered_coupon_purchase_count_90d": sum(money(r, "coupon_discount") > 0 for r in recent),
        "covered_buyer_count_all": len({r["user_id"] for r in rows}),
    }


def coupon_popularity_stats(raw: Raw, coupon: str, t: int) -> Fields | None:
    m = last_midnight(t)
    earliest = min((row["event_timestamp"] for row in raw.tables["events"]), default=m)
    before = range(m, last_midnight(earliest), -DAY)
    bought_before = any(_popularity(raw, coupon, one)["covered_buyer_count_all"] for one in before)
    known_or_bought = raw.is_known("coupons", coupon, t) or bought_before
    return _popularity(raw, coupon, m) if known_or_bought else None


def coupon_redemption_stats(raw: Raw, coupon: str, t: int) -> Fields | None:
    if not raw.is_known("coupons", coupon, t):
        return None
    m = last_midnight(t)
    here = raw.first("coupons", coupon, m)
    others = [
        raw.first("coupons", one, m) for one in {r["coupon_id"] for r in raw.known("coupons", m)}
    ]
    same = [one for one in others if here and one["coupon_code"] == here["coupon_code"]]
    ids, campaigns = {r["coupon_id"] for r in same}, {r["campaign_id"] for r in same}
    redeemed = [r for r in raw.counting("redemptions", m) if r["coupon_id"] in ids]
    worth = [r["discount_amount"] for r in redeemed if r["discount_amount"] is not None]
    return {
        "code_redemption_count_90d": len(within(redeemed, m, 90)),
        "code_redemption_count_all": len(redeemed),
        "code_exposure_count_all": sum(
            r["campaign_id"] in campaigns for r in raw.counting("exposures", m)
        ),
        "typical_discount_all": sum(worth) / len(worth) if worth else 0.0,
    }


def covered_baskets(raw: Raw, coupon: str, m: int) -> set[tuple[str, str]]:
    """Returns the user and the basket of each covered basket of a coupon at a midnight."""
    plan = raw.first("coupons", coupon, m)
    if plan is None:
        return set()
    products = covered(raw, coupon, m)
    seen = [r for r in raw.counting("exposures", m) if r["campaign_id"] == plan["campaign_id"]]
    reached = [(r["user_id"], r["event_timestamp"]) for r in seen]
    return {
        (r["user_id"], r["event_id"] if r["basket_id"] is None else r["basket_id"])
        for r in raw.purchases(m)
        if r["product_id"] in products
        and r["event_timestamp"] >= plan["valid_from"]
        and (
            plan["audience"] == "open"
            or any(u == r["user_id"] and at <= r["event_timestamp"] for u, at in reached)
        )
    }


def _same_campaign(raw: Raw, coupon: str, t: int) -> list[str]:
    here = raw.first("coupons", coupon, t)
    ids = raw.names("coupons", t)
    plans = [raw.first("coupons", one, t) for one in ids] if here else []
    return [one["coupon_id"] for one in plans if one["campaign_id"] == here["campaign_id"]]


def coupon_campaign_stats(raw: Raw, coupon: str, t: int) -> Fields | None:
    if not raw.is_known("coupons", coupon, t):
        return None
    m, plan = last_midnight(t), raw.first("coupons", coupon, t)
    redeemed = [r for r in raw.counting("redemptions", t) if r["coupon_id"] == coupon]
    together = _same_campaign(raw, coupon, t)
    seen = [r for r in raw.counting("exposures", t) if r["campaign_id"] == plan["campaign_id"]]
    return {
        "coupon_redemption_count_7d": len(within(redeemed, t, 7)),
        "coupon_redemption_count_all": len(redeemed),
        "campaign_redemption_count_all": sum(
            r["coupon_id"] in together for r in raw.counting("redemptions", t)
        ),
        "exposed_user_count": len({r["user_id"] for r in seen}),
        "covered_basket_count": len(covered_baskets(raw, coupon, m)),
        "campaign_covered_basket_count": sum(
            len(covered_baskets(raw, one, m)) for one in _same_campaign(raw, coupon, m)
        ),
    }


def user_campaign_stats(raw: Raw, user: str, t: int) -> Fields | None:
    m = last_midnight(t)
    earliest = min((row["event_timestamp"] for row in raw.tables["events"]), default=m)
    if not raw.is_known("users", user, t):
        before = range(m, last_midnight(earliest), -DAY)
        coupons = raw.names("coupons", m)
        if not any(
            user in {u for u, _basket in covered_baskets(raw, one, day)}
            for day in before
            for one in coupons
        ):
            return None
    counts = {}
    for coupon in sorted(raw.names("coupons", m)):
        own = [basket for u, basket in covered_baskets(raw, coupon, m) if u == user]
        if own and m <= raw.first("coupons", coupon, m)["valid_to"]:
            counts[coupon] = len(own)
    return {
        "basket_coupon_ids": list(counts) or None,
        "basket_coupon_counts": list(counts.values()) or None,
    }


VIEWS: Mapping[str, tuple[str, Callable[[Raw, str, int], Fields | None]]] = {
    "user_purchase_stats": ("user_id", user_purchase_stats),
    "user_redemption_stats": ("user_id", user_redemption_stats),
    "user_exposure_stats": ("user_id", user_exposure_stats),
    "user_campaign_stats": ("user_id", user_campaign_stats),
    "user_demographics": ("user_id", user_demographics),
    "user_purchase_history": ("user_id", user_purchase_history),
    "user_recent_purchases": ("user_id", user_recent_purchases),
    "product_details": ("product_id", product_details),
    "product_sales_stats": ("product_id", product_sales_stats),
    "coupon_details": ("coupon_id", coupon_details),
    "coupon_scope": ("coupon_id", coupon_scope),
    "coupon_popularity_stats": ("coupon_id", coupon_popularity_stats),
    "coupon_redemption_stats": ("coupon_id", coupon_redemption_stats),
    "coupon_campaign_stats": ("coupon_id", coupon_campaign_stats),
}
"""Each view with its join key and its oracle."""
