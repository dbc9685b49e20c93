"""What is known of a coupon: its plan from the announcement on, its record at UTC midnights."""

import ibis
from ibis import _

from feature_repo.transforms.history.changes import (
    DAY,
    FAR,
    Stage,
    add_changes,
    first_description,
    newest_description,
    next_midnight,
    running,
    versions,
    window_legs,
)
from feature_repo.transforms.history.product import buyers_ever
from feature_repo.transforms.history.user import introductions

KEY = ["coupon_id"]


def details(coupons: ibis.Table) -> ibis.Table:
    """The view ``coupon_details``: the description of the coupon that counts."""
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


def terms(coupon_terms: ibis.Table) -> ibis.Table:
    """The view ``coupon_terms``: what limits the use of the coupon."""
    newest = newest_description(coupon_terms, "coupon_id")
    return newest.drop("event_us", "created_us")


def pairs(coupon_products: ibis.Table, attributes: ibis.Table) -> ibis.Table:
    """What each coupon covers and since when, with the first description of the product.

    That one says something from ``described`` on: when the pair and the product are both known.
    """
    entered = coupon_products.mutate(enters=ibis.greatest(_.event_us, _.created_us))
    first = entered.group_by(["coupon_id", "product_id"]).agg(enters=_.enters.min())
    found = first.left_join(attributes, "product_id").drop("product_id_right")
    return found.mutate(described=ibis.greatest(found.enters, found.known)).drop("known")


_LEVELS = ("product", "category", "brand", "department")


def scope(covered: ibis.Table, coupons: ibis.Table, stage: Stage) -> ibis.Table:
    """The view ``coupon_scope``: the covered products, categories and brands, and how many."""
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


def _since_known(slices: ibis.Table, known: str) -> ibis.Table:
    """Slices of a midnight aggregate that count from the midnight after ``known`` on."""
    late = slices.mutate(enters=ibis.greatest(slices.enters, next_midnight(slices[known])))
    return late.filter(late.leaves > late.enters)


def popularity_stats(
    by_user: ibis.Table, covered: ibis.Table, coupons: ibis.Table, stage: Stage
) -> ibis.Table:
    """The view ``coupon_popularity_stats``: how much the covered products are bought.

    ``by_user`` is ``product.daily`` by product and user.
    """
    since = covered.select("coupon_id", "product_id", known="enters")
    of_day = by_user.group_by(["product_id", "event_us", "enters", "leaves"]).agg(
        covered_purchase_count=_.purchase_count.sum(),
        covered_coupon_purchase_count=_.coupon_purchase_count.sum(),
    )
    joined = _since_known(of_day.inner_join(since, "product_id"), "known")
    slices = joined.group_by(["coupon_id", "event_us", "enters", "leaves"]).agg(
        covered_purchase_count=_.covered_purchase_count.sum(),
        covered_coupon_purchase_count=_.covered_coupon_purchase_count.sum(),
    )
    measures = {"covered_purchase_count": [30, 90], "covered_coupon_purchase_count": [90]}
    parts = [
        window_legs(stage(slices), KEY, measures),
        buyers_ever(_of_covered(by_user, since), KEY, "covered_buyer_count_all"),
        introductions(coupons, KEY),
    ]
    return running(add_changes(parts, KEY), KEY)


def _of_covered(by_user: ibis.Table, since: ibis.Table) -> ibis.Table:
    """When each user's purchases of each coupon's products count, without what cannot matter."""
    lasting = by_user.filter(_.leaves >= FAR).group_by(["product_id", "user_id"])
    first = lasting.agg(enters=_.enters.min(), leaves=_.leaves.max())
    corrected = by_user.filter(_.leaves < FAR)
    corrected = corrected.select("product_id", "user_id", "enters", "leaves")
    return _since_known(ibis.union(first, corrected).inner_join(since, "product_id"), "known")


def redemption_stats(
    redemptions: ibis.Table, exposures: ibis.Table, coupons: ibis.Table, stage: Stage
) -> ibis.Table:
    """The view ``coupon_redemption_stats``: the record of the same code in all its campaigns."""
    plan = stage(_codes(coupons))
    used = versions(redemptions, ["redemption_id"]).mutate(
        code_redemption_count=ibis.literal(1, "int64"),
        discount_total=_.discount_amount.fill_null(0),
        discount_known=_.discount_amount.notnull().cast("int64"),
    )
    seen = versions(exposures, ["exposure_id"]).mutate(code_exposure_count=ibis.literal(1, "int64"))
    by_code = _once_known(used.inner_join(plan.drop("campaign_id"), "coupon_id"))
    carried = plan.group_by(["campaign_id", "coupon_code"]).agg(known=_.known.min())
    shown = _once_known(seen.inner_join(carried, "campaign_id"))
    totals = ["code_redemption_count", "discount_total", "discount_known"]
    windows = {"code_redemption_count": [90, None], "discount_total": [None]}
    parts = [
        window_legs(
            _of_same_code(by_code, plan, totals), KEY, windows | {"discount_known": [None]}
        ),
        window_legs(
            _of_same_code(shown, plan, ["code_exposure_count"]),
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
    """Code and campaign of each coupon by its first description, and since when it is known."""
    first = first_description(coupons, "coupon_id")
    return first.select("coupon_id", "coupon_code", "campaign_id", "known")


def _once_known(happened: ibis.Table) -> ibis.Table:
    """What happened to a code counts from when the coupon that carried it was known."""
    late = happened.mutate(enters=ibis.greatest(happened.enters, happened.known)).drop("known")
    return late.filter(late.leaves > late.enters)


def _of_same_code(happened: ibis.Table, plan: ibis.Table, measures: list[str]) -> ibis.Table:
    """What happened to a code, summed by midnight, for every coupon that carries the code."""
    moved = happened.mutate(
        event_us=next_midnight(happened.event_us),
        enters=next_midnight(happened.enters),
        leaves=next_midnight(happened.leaves),
    )
    daily = moved.group_by(["coupon_code", "event_us", "enters", "leaves"]).agg(
        **{name: moved[name].sum() for name in measures}
    )
    holders = plan.select("coupon_id", "coupon_code", "known")
    return _since_known(daily.inner_join(holders, "coupon_code"), "known")
