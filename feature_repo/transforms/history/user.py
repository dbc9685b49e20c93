"""Features of a user, published at the instants at which they change."""

from collections.abc import Mapping

import ibis
from ibis import _

from feature_repo.instants import DAY
from feature_repo.transforms.history.changes import (
    ANCHOR,
    FAR,
    Stage,
    add_changes,
    add_superseded,
    distinct_changes,
    first_description,
    growth,
    last_midnight,
    newest_description,
    running,
    standing,
    versions,
    window_changes,
    window_legs,
)
from feature_repo.transforms.request.ranker_inputs import SPEND_HALF_LIFE_DAYS, WINDOWS

_EVER = (*WINDOWS, None)


def purchases(events: ibis.Table) -> ibis.Table:
    """Lists purchase versions with the measures that the features of users and products sum."""
    # The filter comes after the versions: a correction can change the event type.
    counted = versions(events, ["event_id"]).filter(_.event_type == "purchase")
    money = {name: counted[name].fill_null(0) for name in _MONEY}
    counted = counted.mutate(basket=ibis.coalesce(counted.basket_id, counted.event_id), **money)
    discounted = (
        counted.retail_discount + counted.coupon_discount + counted.coupon_match_discount > 0
    )
    return counted.mutate(
        purchase_count=ibis.literal(1, "int64"),
        spend=counted.amount,
        discounted_purchase_count=discounted.cast("int64"),
        coupon_purchase_count=(counted.coupon_discount > 0).cast("int64"),
        quantity=counted.quantity.fill_null(0),
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


_LATEST = {
    "last_purchase_timestamp": "event_us",
    "last_coupon_purchase_timestamp": "coupon_event_us",
}


def purchase_stats(bought: ibis.Table, users: ibis.Table, stage: Stage) -> ibis.Table:
    """Builds the view ``user_purchase_stats``: windowed sums, recencies and decayed spend."""
    key = ["user_id"]
    slices = stage(_slices(bought))
    parts = [window_legs(slices, key, _SUMS), introductions(users, key), _lasting(slices)]
    one = slices.select(
        "user_id", "basket", "day", "event_us", "enters", "leaves", here=ibis.literal(1, "int64")
    )
    for inner, measure in (("basket", "basket_count"), ("day", "visit_day_count")):
        here = window_changes(one, ["user_id", inner], {"here": WINDOWS})
        counted = {f"{measure}_{w}d": (f"here_{w}d", 1) for w in WINDOWS}
        parts.append(stage(distinct_changes(here, ["user_id", inner], key, counted)))
    points = stage(running(stage(add_changes(parts, key, _LATEST)), key, _LATEST))
    points = add_superseded(points, key, slices, {"anchored": "anchored"}, _LATEST)
    factor = growth(ANCHOR - points["at"], SPEND_HALF_LIFE_DAYS)
    return points.mutate(
        spend_decayed_sum_30d=points.anchored * factor,
        spend_decayed_reference_timestamp=points["at"],
    ).drop("anchored")


def _slices(bought: ibis.Table) -> ibis.Table:
    """Sums purchases by basket and instant, and weighs the spend relative to ``ANCHOR``."""
    slices = (
        bought.mutate(day=last_midnight(bought.event_us))
        .group_by(["user_id", "basket", "day", "event_us", "enters", "leaves"])
        .agg(**{measure: _[measure].sum() for measure in _SUMS})
    )
    weight = growth(slices.event_us - ANCHOR, SPEND_HALF_LIFE_DAYS)
    return slices.mutate(
        anchored=slices.spend.cast("float64") * weight,
        coupon_event_us=ibis.ifelse(slices.coupon_purchase_count > 0, slices.event_us, None),
    )


def _lasting(slices: ibis.Table) -> ibis.Table:
    """Lists the slices that are never superseded: their decayed spend and their instants."""
    lasting = slices.filter(slices.leaves == FAR)
    latest = {name: lasting[column] for name, column in _LATEST.items()}
    return lasting.select("user_id", lasting.anchored, at=lasting.enters, **latest)


def introductions(users: ibis.Table, key: list[str]) -> ibis.Table:
    """Adds a change of 0 when an entity becomes known, so that its counts start at 0."""
    entered = users.mutate(at=ibis.greatest(_.event_us, _.created_us))
    return entered.group_by(key).agg(at=_["at"].min())


def redemption_stats(
    redemptions: ibis.Table, coupons: ibis.Table, users: ibis.Table, stage: Stage
) -> ibis.Table:
    """Builds the view ``user_redemption_stats``: redemptions in windows, by coupon and campaign."""
    used = stage(standing(redemptions).mutate(redemption_count=ibis.literal(1, "int64")))
    key = ["user_id"]
    latest = {"last_redemption_timestamp": "event_us"}
    lasting = used.filter(used.leaves == FAR)
    lasting = lasting.select(
        "user_id", at=lasting.enters, last_redemption_timestamp=lasting.event_us
    )
    campaigns = first_description(coupons, "coupon_id").select("coupon_id", "campaign_id", "known")
    in_campaign = stage(
        used.inner_join(campaigns, "coupon_id").mutate(
            enters=ibis.greatest(_.enters, _.known), uses=_.redemption_count
        )
    )
    parts = [
        window_legs(used, key, {"redemption_count": _EVER}),
        introductions(users, key),
        lasting,
        in_campaign.filter(_.leaves > _.enters).select("user_id", at=_.enters),
    ]
    points = running(add_changes(parts, key, latest), key, latest)
    points = stage(add_superseded(points, key, used, maxima=latest))
    held = used.select(
        "user_id",
        "coupon_id",
        "enters",
        "leaves",
        uses=_.redemption_count,
        recent=_.redemption_count,
        recent_ends=_.event_us + WINDOWS[0] * DAY,
    )
    by_coupon = with_lists(
        points,
        held,
        {
            "redeemed_coupon_ids": "coupon_id",
            "redeemed_coupon_counts": "uses",
            "redeemed_coupon_counts_7d": "recent",
        },
        ends={"recent": "recent_ends"},
    )
    return with_lists(
        stage(by_coupon),
        in_campaign.select("user_id", "campaign_id", "enters", "leaves", "uses"),
        {"redeemed_campaign_ids": "campaign_id", "redeemed_campaign_counts": "uses"},
    )


def exposure_stats(exposures: ibis.Table, users: ibis.Table, stage: Stage) -> ibis.Table:
    """Builds the view ``user_exposure_stats``: the campaigns that reached the user so far."""
    seen = stage(
        versions(exposures, ["exposure_id"]).mutate(exposure_count=ibis.literal(1, "int64"))
    )
    key = ["user_id"]
    parts = [window_legs(seen, key, {"exposure_count": [None]}), introductions(users, key)]
    points = stage(running(add_changes(parts, key), key))
    held = seen.select("user_id", "campaign_id", "enters", "leaves")
    return with_lists(points, held, {"campaign_ids": "campaign_id"})


def with_lists(
    points: ibis.Table,
    held: ibis.Table,
    fields: Mapping[str, str],
    ends: Mapping[str, str] = {},
) -> ibis.Table:
    """Adds lists of the ids that count at each change point of a user, sorted, and of their sums.

    ``fields`` maps each list to a column of ``held``: the id first, then int64 columns to sum. An
    id counts from ``enters`` on and before ``leaves``. ``ends`` maps a column to the column with
    the instant at which it stops counting, if that is earlier.
    """
    ident, *sums = fields.values()
    held = held.rename(held_user="user_id")
    matched = points.select("user_id", "at").inner_join(
        held,
        [_.user_id == held.held_user, _["at"] >= held.enters, _["at"] < held.leaves],
    )
    zero = ibis.literal(0, "int64")
    cut = {
        column: ibis.ifelse(matched["at"] < matched[end], matched[column], zero)
        for column, end in ends.items()
    }
    matched = matched.mutate(**cut)
    keys = ["user_id", "at", ident]
    summed = matched.select(*keys).distinct()
    if sums:
        summed = matched.group_by(keys).agg(**{column: matched[column].sum() for column in sums})
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
    """Builds the view ``user_demographics``: the version of the user that counts."""
    newest = newest_description(users, "user_id")
    return newest.select(
        "user_id", "at", **{name: newest[name].cast("int64") for name in _DEMOGRAPHICS}
    )
