"""Every stored feature computed again from raw rows, one entity and instant at a time.

Written from the descriptions of the fields alone and in plain Python, so that it shares nothing
with the expressions that it judges. Rows are dicts in contract columns; instants are int
microseconds since the epoch, UTC.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DAY = 86_400_000_000
WINDOWS = (7, 30, 90)
CAP = 512
LEVELS = ("product", "category", "brand")

Row = Mapping[str, object]
Rows = Sequence[Row]


@dataclass(frozen=True)
class Measured:
    """A float and the size of the terms it was added up from, which bounds its rounding."""

    value: float
    scale: float


def known(row: Row) -> int:
    return max(row["event_timestamp"], row["created_timestamp"])


def counting(rows: Rows, key: Sequence[str], t: int) -> list[Row]:
    """Of each row, the version learned last among those that happened and were learned before t."""
    newest: dict[tuple, Row] = {}
    for row in rows:
        name = tuple(row[column] for column in key)
        held = newest.get(name)
        later = held is None or row["created_timestamp"] > held["created_timestamp"]
        if known(row) < t and later:
            newest[name] = row
    return list(newest.values())


def last_midnight(t: int) -> int:
    """The last UTC midnight strictly before t."""
    return (t - 1) // DAY * DAY


def within(rows: Rows, t: int, days: int | None) -> list[Row]:
    """The rows with t - days <= event_timestamp."""
    return [row for row in rows if days is None or row["event_timestamp"] >= t - days * DAY]


def first_version(rows: Rows, key: str, value: object) -> Row:
    same = [row for row in rows if row[key] == value]
    order = min(same, key=lambda r: (r["created_timestamp"], r["event_timestamp"]), default={})
    return order


def has(rows: Rows, t: int, **values: object) -> bool:
    """Whether any version of a row with these values was known before t."""
    return any(known(r) < t and all(r[k] == v for k, v in values.items()) for r in rows)


def money(row: Row, name: str) -> int:
    return row[name] or 0


def discounts(row: Row) -> int:
    names = ("retail_discount", "coupon_discount", "coupon_match_discount")
    return sum(money(row, name) for name in names)


def latest(rows: Rows) -> int | None:
    return max((row["event_timestamp"] for row in rows), default=None)


def decayed(
    rows: Rows, reference: int, half_life: float, worth: Callable[[Row], float]
) -> Measured:
    terms = [
        worth(row) * 2.0 ** (-(reference - row["event_timestamp"]) / DAY / half_life)
        for row in rows
    ]
    return Measured(sum(terms), sum(abs(term) for term in terms))


def purchases(log: Mapping[str, Rows], t: int) -> list[Row]:
    return [r for r in counting(log["events"], ["event_id"], t) if r["event_type"] == "purchase"]


def user_purchase_stats(log: Mapping[str, Rows], user: str, t: int) -> dict:
    """``reference`` must be taken from the row itself, hence the function in its place."""
    mine = [row for row in purchases(log, t) if row["user_id"] == user]
    out: dict[str, object] = {}
    for days in WINDOWS:
        rows = within(mine, t, days)
        measures = {
            "purchase_count": len(rows),
            "spend": sum(money(r, "amount") for r in rows),
            "basket_count": len({r["basket_id"] or r["event_id"] for r in rows}),
            "visit_day_count": len({r["event_timestamp"] // DAY for r in rows}),
            "discounted_purchase_count": sum(discounts(r) > 0 for r in rows),
            "retail_discount": sum(money(r, "retail_discount") for r in rows),
            "coupon_purchase_count": sum(money(r, "coupon_discount") > 0 for r in rows),
            "coupon_discount": sum(money(r, "coupon_discount") for r in rows),
        }
        out |= {f"{name}_{days}d": value for name, value in measures.items()}
    coupon_use = [r for r in mine if money(r, "coupon_discount") > 0]
    return out | {
        "purchase_count_all": len(mine),
        "last_purchase_timestamp": latest(mine),
        "last_coupon_purchase_timestamp": latest(coupon_use),
        "spend_decayed_sum_30d": lambda row: decayed(
            mine, row["spend_decayed_reference_timestamp"], 30, lambda r: money(r, "amount")
        ),
    }


def user_redemption_stats(log: Mapping[str, Rows], user: str, t: int) -> dict:
    counted = counting(log["redemptions"], ["redemption_id"], t)
    mine = [row for row in counted if row["user_id"] == user]
    ids = sorted({row["coupon_id"] for row in mine})
    counts = [sum(row["coupon_id"] == one for row in mine) for one in ids]
    return {f"redemption_count_{days}d": len(within(mine, t, days)) for days in WINDOWS} | {
        "redemption_count_all": len(mine),
        "last_redemption_timestamp": latest(mine),
        "redeemed_coupon_ids": ids or None,
        "redeemed_coupon_counts": counts or None,
    }


def user_exposure_stats(log: Mapping[str, Rows], user: str, t: int) -> dict:
    counted = counting(log["exposures"], ["exposure_id"], t)
    mine = [row for row in counted if row["user_id"] == user]
    ids = sorted({row["campaign_id"] for row in mine})
    return {"exposure_count_all": len(mine), "campaign_ids": ids or None}


def described(rows: Rows, key: str, value: object, t: int, names: Mapping[str, str]) -> dict:
    """Fields of the version that counts at t (new name to column), booleans as 0 or 1."""
    row = next(iter(counting([r for r in rows if r[key] == value], [key], t)), None)
    if row is None:
        return dict.fromkeys(names)
    values = {name: row[column] for name, column in names.items()}
    return {n: int(v) if isinstance(v, bool) else v for n, v in values.items()}


DEMOGRAPHICS = (
    "age_min",
    "income_min",
    "household_size",
    "kids_count",
    "is_homeowner",
    "is_married",
)


def user_demographics(log: Mapping[str, Rows], user: str, t: int) -> dict:
    return described(log["users"], "user_id", user, t, {n: n for n in DEMOGRAPHICS})


def entry_ids(log: Mapping[str, Rows], row: Row, kind: str) -> object:
    """The product of a purchase, or its category or brand by the product's first version."""
    if kind == "product":
        return row["product_id"]
    return first_version(log["products"], "product_id", row["product_id"]).get(kind)


def entries(log: Mapping[str, Rows], signed: Sequence[tuple[int, Row]], kind: str) -> dict:
    """Purchases by id, each with its sign."""
    out: dict[object, list[tuple[int, Row]]] = {}
    for sign, row in signed:
        one = entry_ids(log, row, kind)
        if one is not None:
            out.setdefault(one, []).append((sign, row))
    return out


def listed(log: Mapping[str, Rows], signed: Sequence[tuple[int, Row]], part: str) -> dict:
    """The five lists of each kind, as functions of the row's own reference."""
    out: dict[str, object] = {}
    for kind in LEVELS:
        out[f"{part}_{kind}"] = lambda row, kind=kind: _lists(
            entries(log, signed, kind), row[f"{part}_reference_timestamp"]
        )
    return out


def _lists(held: Mapping, reference: int) -> dict[object, tuple]:
    """Count, decayed weight, last purchase and coupon uses for each of the heaviest ids."""
    weights = {one: decayed_signed(signed, reference) for one, signed in held.items()}
    heaviest = sorted(held, key=lambda one: (-weights[one].value, one))[:CAP]
    return {one: _entry(held[one], weights[one]) for one in heaviest}


def decayed_signed(signed: Sequence[tuple[int, Row]], reference: int) -> Measured:
    parts = [(sign, decayed([row], reference, 90, lambda r: 1.0).value) for sign, row in signed]
    return Measured(sum(s * w for s, w in parts), sum(w for _s, w in parts))


def _entry(signed: Sequence[tuple[int, Row]], weight: Measured) -> tuple:
    return (
        sum(sign for sign, _row in signed),
        weight,
        latest([row for sign, row in signed if sign > 0]) or 0,
        sum(sign * (money(row, "coupon_discount") > 0) for sign, row in signed),
    )


def user_purchase_history(log: Mapping[str, Rows], user: str, t: int) -> dict:
    mine = [r for r in purchases(log, last_midnight(t)) if r["user_id"] == user]
    return listed(log, [(1, row) for row in mine], "history")


def user_recent_purchases(log: Mapping[str, Rows], user: str, t: int) -> dict:
    now = [r for r in purchases(log, t) if r["user_id"] == user]
    then = [r for r in purchases(log, last_midnight(t)) if r["user_id"] == user]
    gained = [(1, row) for row in now if row not in then]
    lost = [(-1, row) for row in then if row not in now]
    return listed(log, gained + lost, "recent")


def product_details(log: Mapping[str, Rows], product: str, t: int) -> dict:
    names = {n: n for n in ("department", "category", "brand", "is_private_label")}
    names["product_name"] = "name"
    return described(log["products"], "product_id", product, t, names)


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def product_sales_stats(log: Mapping[str, Rows], product: str, t: int) -> dict:
    m = last_midnight(t)
    rows = [r for r in purchases(log, m) if r["product_id"] == product]
    out: dict[str, object] = {f"purchase_count_{d}d": len(within(rows, m, d)) for d in WINDOWS}
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


def coupon_details(log: Mapping[str, Rows], coupon: str, t: int) -> dict:
    names = {n: n for n in COUPON_DETAILS}
    names |= {"valid_from_timestamp": "valid_from", "valid_to_timestamp": "valid_to"}
    out = described(log["coupons"], "coupon_id", coupon, t, names)
    start, end = out["valid_from_timestamp"], out["valid_to_timestamp"]
    return out | {"duration_days": None if start is None else (end - start) / DAY}


def covered(log: Mapping[str, Rows], coupon: str, t: int) -> set:
    pairs = counting(log["coupon_products"], ["coupon_id", "product_id"], t)
    return {row["product_id"] for row in pairs if row["coupon_id"] == coupon}


def coupon_scope(log: Mapping[str, Rows], coupon: str, t: int) -> dict:
    products = covered(log, coupon, t)
    first = [first_version(log["products"], "product_id", one) for one in products]
    out: dict[str, object] = {}
    for level in ("product", "category", "brand", "department"):
        named = products if level == "product" else {row.get(level) for row in first} - {None}
        out[f"scope_{level}_count"] = len(named)
        if level != "department":
            out[f"scope_{level}_ids"] = sorted(named) or None
    return out


def coupon_popularity_stats(log: Mapping[str, Rows], coupon: str, t: int) -> dict:
    m = last_midnight(t)
    products = covered(log, coupon, m)
    rows = [r for r in purchases(log, m) if r["product_id"] in products]
    recent = within(rows, m, 90)
    return {
        "covered_purchase_count_30d": len(within(rows, m, 30)),
        "covered_purchase_count_90d": len(recent),
        "covered_coupon_purchase_count_90d": sum(money(r, "coupon_discount") > 0 for r in recent),
        "covered_buyer_count_all": len({r["user_id"] for r in rows}),
    }


def coupon_redemption_stats(log: Mapping[str, Rows], coupon: str, t: int) -> dict:
    m = last_midnight(t)
    plans = log["coupons"]
    code = first_version(plans, "coupon_id", coupon)["coupon_code"]
    same = {r["coupon_id"] for r in plans if has(plans, m, coupon_id=r["coupon_id"])}
    firsts = [first_version(plans, "coupon_id", one) for one in same]
    firsts = [row for row in firsts if row["coupon_code"] == code]
    known_here = has(plans, m, coupon_id=coupon)
    ids = {row["coupon_id"] for row in firsts} if known_here else set()
    campaigns = {row["campaign_id"] for row in firsts} if known_here else set()
    redeemed = counting(log["redemptions"], ["redemption_id"], m)
    redeemed = [row for row in redeemed if row["coupon_id"] in ids]
    exposed = counting(log["exposures"], ["exposure_id"], m)
    worth = [r["discount_amount"] for r in redeemed if r["discount_amount"] is not None]
    return {
        "code_redemption_count_90d": len(within(redeemed, m, 90)),
        "code_redemption_count_all": len(redeemed),
        "code_exposure_count_all": sum(r["campaign_id"] in campaigns for r in exposed),
        "typical_discount_all": sum(worth) / len(worth) if worth else 0.0,
    }


VIEWS: Mapping[str, tuple[str, str, Callable]] = {
    "user_purchase_stats": ("user_id", "users", user_purchase_stats),
    "user_redemption_stats": ("user_id", "users", user_redemption_stats),
    "user_exposure_stats": ("user_id", "users", user_exposure_stats),
    "user_demographics": ("user_id", "users", user_demographics),
    "user_purchase_history": ("user_id", "users", user_purchase_history),
    "user_recent_purchases": ("user_id", "users", user_recent_purchases),
    "product_details": ("product_id", "products", product_details),
    "product_sales_stats": ("product_id", "products", product_sales_stats),
    "coupon_details": ("coupon_id", "coupons", coupon_details),
    "coupon_scope": ("coupon_id", "coupons", coupon_scope),
    "coupon_popularity_stats": ("coupon_id", "coupons", coupon_popularity_stats),
    "coupon_redemption_stats": ("coupon_id", "coupons", coupon_redemption_stats),
}
"""Each view with its join key, the table that introduces its entity, and its definition."""
