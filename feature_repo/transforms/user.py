"""What is known of a user, published at every instant at which it changes."""

import ibis
from ibis import _

from feature_repo.transforms.changes import (
    ANCHOR,
    DAY,
    FAR,
    Stage,
    add_changes,
    distinct_changes,
    growth,
    latest,
    newest_description,
    running,
    versions,
    window_changes,
)
from feature_repo.transforms.request import SPEND_HALF_LIFE_DAYS, WINDOWS

_EVER = (*WINDOWS, None)


def purchases(events: ibis.Table) -> ibis.Table:
    """Purchase versions with the measures that users and products sum up."""
    bought = events.filter(_.event_type == "purchase").mutate(
        basket=ibis.coalesce(_.basket_id, _.event_id)
    )
    known = versions(bought, ["event_id"])
    money = {name: known[name].fill_null(0) for name in _MONEY}
    known = known.mutate(**money)
    discounted = known.retail_discount + known.coupon_discount + known.coupon_match_discount > 0
    return known.mutate(
        purchase_count=ibis.literal(1, "int64"),
        spend=known.amount,
        discounted_purchase_count=discounted.cast("int64"),
        coupon_purchase_count=(known.coupon_discount > 0).cast("int64"),
        quantity=known.quantity.fill_null(0),
    )


_MONEY = ("amount", "retail_discount", "coupon_discount", "coupon_match_discount")
_SUMS = {
    "purchase_count": _EVER,
    "spend": WINDOWS,
    "discounted_purchase_count": WINDOWS,
    "retail_discount": WINDOWS,
    "coupon_purchase_count": WINDOWS,
    "coupon_discount": WINDOWS,
}


def purchase_stats(bought: ibis.Table, users: ibis.Table, stage: Stage) -> ibis.Table:
    """The view ``user_purchase_stats``: windowed sums and counts, recencies, decayed spend."""
    key = ["user_id"]
    slices = stage(
        bought.mutate(day=bought.event_us - bought.event_us % DAY)
        .group_by(["user_id", "basket", "day", "event_us", "enters", "leaves"])
        .agg(**{measure: _[measure].sum().cast("int64") for measure in _SUMS})
    )
    sums = window_changes(slices, key, _SUMS)
    one = slices.mutate(here=ibis.literal(1, "int64"))
    parts = [sums, introductions(users, key)]
    for inner, measure in (("basket", "basket_count"), ("day", "visit_day_count")):
        here = window_changes(one, ["user_id", inner], {"here": WINDOWS})
        counted = {f"{measure}_{w}d": (f"here_{w}d", 1) for w in WINDOWS}
        parts.append(distinct_changes(here, ["user_id", inner], key, counted))
    parts.append(_decayed_changes(slices))
    changes = stage(add_changes(parts, key))
    points = running(changes, key, [c for c in changes.columns if c not in ("user_id", "at")])
    points = latest(points, "user_id", slices, "last_purchase_timestamp")
    coupon_use = slices.filter(_.coupon_purchase_count > 0)
    points = latest(points, "user_id", coupon_use, "last_coupon_purchase_timestamp")
    factor = growth(ANCHOR - points["at"], SPEND_HALF_LIFE_DAYS)
    return points.mutate(
        spend_decayed_sum_30d=points.anchored * factor,
        spend_decayed_reference_timestamp=points["at"],
    ).drop("anchored")


def introductions(users: ibis.Table, key: list[str]) -> ibis.Table:
    """A change of nothing when an entity becomes known, so that its counts start at 0."""
    entered = users.mutate(at=ibis.greatest(_.event_us, _.created_us))
    return entered.group_by(key).agg(at=_["at"].min())


def _decayed_changes(slices: ibis.Table) -> ibis.Table:
    """Changes of the decayed spend, as if all had happened at ``ANCHOR``."""
    weight = growth(slices.event_us - ANCHOR, SPEND_HALF_LIFE_DAYS)
    worth = slices.mutate(anchored=slices.spend.cast("float64") * weight)
    gone = worth.filter(_.leaves < FAR)
    legs = ibis.union(
        worth.select("user_id", at=_.enters, anchored=_.anchored),
        gone.select("user_id", at=_.leaves, anchored=-_.anchored),
    )
    return legs.group_by(["user_id", "at"]).agg(anchored=_.anchored.sum())


def redemption_stats(redemptions: ibis.Table, users: ibis.Table, stage: Stage) -> ibis.Table:
    """The view ``user_redemption_stats``: coupons used, in windows and by coupon."""
    used = stage(
        versions(redemptions, ["redemption_id"]).mutate(redemption_count=ibis.literal(1, "int64"))
    )
    key = ["user_id"]
    sums = window_changes(used, key, {"redemption_count": _EVER})
    changes = add_changes([sums, introductions(users, key)], key)
    points = running(changes, key, [c for c in changes.columns if c not in ("user_id", "at")])
    points = stage(latest(points, "user_id", used, "last_redemption_timestamp"))
    return _with_list(
        points,
        used.group_by(["user_id", "coupon_id", "enters", "leaves"]).agg(uses=_.count()),
        {"redeemed_coupon_ids": "coupon_id", "redeemed_coupon_counts": "uses"},
    )


def exposure_stats(exposures: ibis.Table, users: ibis.Table, stage: Stage) -> ibis.Table:
    """The view ``user_exposure_stats``: the campaigns that reached the user so far."""
    seen = stage(
        versions(exposures, ["exposure_id"]).mutate(exposure_count=ibis.literal(1, "int64"))
    )
    key = ["user_id"]
    sums = window_changes(seen, key, {"exposure_count": [None]})
    changes = add_changes([sums, introductions(users, key)], key)
    points = stage(running(changes, key, ["exposure_count_all"]))
    held = seen.select("user_id", "campaign_id", "enters", "leaves").mutate(
        uses=ibis.literal(1, "int64")
    )
    return _with_list(points, held, {"campaign_ids": "campaign_id"})


def _with_list(points: ibis.Table, held: ibis.Table, fields: dict[str, str]) -> ibis.Table:
    """Adds, per change point, the sorted ids that count there; ``fields`` maps list to column."""
    ident = next(iter(fields.values()))
    held = held.rename(held_user="user_id")
    matched = points.select("user_id", "at").inner_join(
        held,
        [_.user_id == held.held_user, _["at"] >= held.enters, _["at"] < held.leaves],
    )
    summed = matched.group_by(["user_id", "at", ident]).agg(uses=_.uses.sum().cast("int64"))
    lists = summed.group_by(["user_id", "at"]).agg(
        **{name: summed[c].collect(order_by=summed[ident]) for name, c in fields.items()}
    )
    joined = points.left_join(lists, ["user_id", "at"])
    return joined.drop("user_id_right", "at_right")


_DEMOGRAPHICS = (
    "age_min",
    "income_min",
    "household_size",
    "kids_count",
    "is_homeowner",
    "is_married",
)


def demographics(users: ibis.Table) -> ibis.Table:
    """The view ``user_demographics``: the description of the user that counts."""
    newest = newest_description(users, "user_id")
    return newest.select(
        "user_id", "at", **{name: newest[name].cast("int64") for name in _DEMOGRAPHICS}
    )
