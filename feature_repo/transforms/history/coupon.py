"""Features of a coupon: its plan from the announcement on, its statistics at UTC midnights."""

from collections.abc import Mapping, Sequence

import ibis
from ibis import _

from feature_repo.instants import DAY
from feature_repo.transforms.history.changes import (
    FAR,
    Stage,
    add_changes,
    first_description,
    newest_description,
    next_midnight,
    running,
    standing,
    versions,
    window_legs,
)
from feature_repo.transforms.history.product import buyers_ever
from feature_repo.transforms.history.user import introductions

KEY = ["coupon_id"]


def details(coupons: ibis.Table) -> ibis.Table:
    """Builds the view ``coupon_details``: the version of the coupon that counts."""
    newest = newest_description(coupons, "coupon_id")
    duration = (newest.valid_to_us - newest.valid_from_us).cast("float64") / DAY
    return newest.select(
        "coupon_id",
        "at",
        "coupon_code",
        "campaign_id",
        "campaign_type",
        "audience",
        "discount_type",
        "discount_value",
        "min_spend",
        "per_user_limit",
        duration_days=duration,
        valid_from_timestamp=newest.valid_from_us,
        valid_to_timestamp=newest.valid_to_us,
    )


def pairs(coupon_products: ibis.Table, attributes: ibis.Table) -> ibis.Table:
    """Lists each coupon's products from ``enters`` on, with the first description of the product.

    The description may be used from ``described`` on, when the pair and the product are known.
    """
    entered = coupon_products.mutate(enters=ibis.greatest(_.event_us, _.created_us))
    first = entered.group_by(["coupon_id", "product_id"]).agg(enters=_.enters.min())
    found = first.left_join(attributes, "product_id").drop("product_id_right")
    return found.mutate(described=ibis.greatest(found.enters, found.known)).drop("known")


_LEVELS = ("product", "category", "brand", "department")


def scope(covered: ibis.Table, coupons: ibis.Table, stage: Stage) -> ibis.Table:
    """Builds the view ``coupon_scope``: the covered products, categories and brands, and counts."""
    announced = introductions(coupons, KEY)
    grown = [covered.select("coupon_id", at=covered[since]) for since in ("enters", "described")]
    points = stage(ibis.union(*grown, announced).distinct())
    out = points
    for level in _LEVELS:
        ident, since = ("product_id", "enters") if level == "product" else (level, "described")
        named = covered.filter(covered[ident].notnull())
        first = named.group_by(["coupon_id", ident]).agg(enters=named[since].min())
        first = first.rename(of_coupon="coupon_id", ident=ident)
        held = points.inner_join(
            first, [points.coupon_id == first.of_coupon, points["at"] >= first.enters]
        )
        lists = held.group_by(["coupon_id", "at"]).agg(
            **{
                f"scope_{level}_count": held.count().cast("int64"),
                f"scope_{level}_ids": held.ident.collect(order_by=held.ident),
            }
        )
        out = out.left_join(lists, ["coupon_id", "at"]).drop("coupon_id_right", "at_right")
    counts = {f"scope_{level}_count": out[f"scope_{level}_count"].fill_null(0) for level in _LEVELS}
    return out.mutate(**counts).drop("scope_department_ids")


def _from_known_midnight(slices: ibis.Table, known: str) -> ibis.Table:
    """Delays slices of a midnight aggregate to the midnight after ``known``."""
    late = slices.mutate(enters=ibis.greatest(slices.enters, next_midnight(slices[known])))
    return late.filter(late.leaves > late.enters)


def popularity_stats(
    by_user: ibis.Table, covered: ibis.Table, coupons: ibis.Table, stage: Stage
) -> ibis.Table:
    """Builds the view ``coupon_popularity_stats``: purchases of the covered products by all users.

    ``by_user`` is ``product.daily`` by product and user.
    """
    since = covered.select("coupon_id", "product_id", known="enters")
    of_day = by_user.group_by(["product_id", "event_us", "enters", "leaves"]).agg(
        covered_purchase_count=_.purchase_count.sum(),
        covered_coupon_purchase_count=_.coupon_purchase_count.sum(),
    )
    joined = _from_known_midnight(of_day.inner_join(since, "product_id"), "known")
    slices = joined.group_by(["coupon_id", "event_us", "enters", "leaves"]).agg(
        covered_purchase_count=_.covered_purchase_count.sum(),
        covered_coupon_purchase_count=_.covered_coupon_purchase_count.sum(),
    )
    measures = {"covered_purchase_count": [30, 90], "covered_coupon_purchase_count": [90]}
    parts = [
        window_legs(stage(slices), KEY, measures),
        buyers_ever(_covered_purchases(by_user, since), KEY, "covered_buyer_count_all"),
        introductions(coupons, KEY),
    ]
    return running(add_changes(parts, KEY), KEY)


def _covered_purchases(by_user: ibis.Table, since: ibis.Table) -> ibis.Table:
    """Lists when users' purchases of a coupon's products count, if they can change the buyers."""
    lasting = by_user.filter(_.leaves >= FAR).group_by(["product_id", "user_id"])
    first = lasting.agg(enters=_.enters.min(), leaves=_.leaves.max())
    corrected = by_user.filter(_.leaves < FAR)
    corrected = corrected.select("product_id", "user_id", "enters", "leaves")
    return _from_known_midnight(
        ibis.union(first, corrected).inner_join(since, "product_id"), "known"
    )


def redemption_stats(
    redemptions: ibis.Table, exposures: ibis.Table, coupons: ibis.Table, stage: Stage
) -> ibis.Table:
    """Builds the view ``coupon_redemption_stats``: statistics of a code over all its campaigns."""
    plan = stage(_codes(coupons))
    used = standing(redemptions).mutate(
        code_redemption_count=ibis.literal(1, "int64"),
        discount_total=_.discount_amount.fill_null(0),
        discount_known=_.discount_amount.notnull().cast("int64"),
    )
    seen = versions(exposures, ["exposure_id"]).mutate(code_exposure_count=ibis.literal(1, "int64"))
    by_code = _delay_until_known(used.inner_join(plan.drop("campaign_id"), "coupon_id"))
    carried = plan.group_by(["campaign_id", "coupon_code"]).agg(known=_.known.min())
    shown = _delay_until_known(seen.inner_join(carried, "campaign_id"))
    totals = ["code_redemption_count", "discount_total", "discount_known"]
    windows: Mapping[str, Sequence[int | None]] = {
        "code_redemption_count": [90, None],
        "discount_total": [None],
        "discount_known": [None],
    }
    parts = [
        window_legs(_by_coupon(by_code, plan, totals), KEY, windows),
        window_legs(
            _by_coupon(shown, plan, ["code_exposure_count"]),
            KEY,
            {"code_exposure_count": [None]},
        ),
        introductions(coupons, KEY),
    ]
    points = running(add_changes(parts, KEY), KEY)
    typical = points.discount_total_all.cast("float64") / points.discount_known_all.nullif(0)
    return points.mutate(typical_discount_all=typical.fill_null(0.0)).drop(
        "discount_total_all", "discount_known_all"
    )


def _codes(coupons: ibis.Table) -> ibis.Table:
    """Returns code and campaign of each coupon by its first description, and when it is known."""
    first = first_description(coupons, "coupon_id")
    return first.select("coupon_id", "coupon_code", "campaign_id", "known")


def _delay_until_known(happened: ibis.Table) -> ibis.Table:
    """Delays events of a code to the instant at which its coupon is known."""
    late = happened.mutate(enters=ibis.greatest(happened.enters, happened.known)).drop("known")
    return late.filter(late.leaves > late.enters)


def _by_coupon(happened: ibis.Table, plan: ibis.Table, measures: list[str]) -> ibis.Table:
    """Sums the events of a code by midnight, for each coupon with the code."""
    moved = happened.mutate(
        event_us=next_midnight(happened.event_us),
        enters=next_midnight(happened.enters),
        leaves=next_midnight(happened.leaves),
    )
    daily = moved.group_by(["coupon_code", "event_us", "enters", "leaves"]).agg(
        **{name: moved[name].sum() for name in measures}
    )
    holders = plan.select("coupon_id", "coupon_code", "known")
    return _from_known_midnight(daily.inner_join(holders, "coupon_code"), "known")
