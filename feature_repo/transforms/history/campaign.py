"""Features of the campaign so far: redemptions of its coupons, and the baskets that could use them.

A covered basket of a coupon is a basket with a product that the coupon covers, bought from the
start of the coupon on by a user whom the campaign had reached. It is a trial: the coupon could have
been redeemed in it. Redemptions and exposures count from the instant at which they are known.
Baskets count from the UTC midnight after that, so that a coupon's row changes a few times a day.
"""

import ibis
from ibis import _

from feature_repo.transforms.history.changes import (
    FAR,
    Stage,
    add_changes,
    distinct_changes,
    first_description,
    next_midnight,
    running,
    standing,
    versions,
    window_changes,
    window_legs,
)
from feature_repo.transforms.history.user import introductions, with_lists

_COUPON = ["coupon_id"]
_BASKET = ["coupon_id", "user_id", "basket"]


def plans(coupons: ibis.Table) -> ibis.Table:
    """Returns the plan of each coupon by its first description, and when it is ``known``."""
    return first_description(coupons, "coupon_id").select(
        "coupon_id", "campaign_id", "audience", "valid_from_us", "valid_to_us", "known"
    )


def covered_baskets(
    bought: ibis.Table, covered: ibis.Table, exposures: ibis.Table, plan: ibis.Table, stage: Stage
) -> ibis.Table:
    """Lists the changes of ``baskets``, each user's covered baskets of a coupon, at UTC midnights.

    ``bought`` are the purchases of ``user.purchases``, ``covered`` the pairs of ``coupon.pairs``.
    """
    reached = versions(exposures, ["exposure_id"]).select(
        "user_id", "campaign_id", since=_.event_us, reached=_.enters, lost=_.leaves
    )
    lines = bought.select("user_id", "product_id", "basket", "event_us", "enters", "leaves")
    of_coupon = covered.select("coupon_id", "product_id", paired="enters").inner_join(
        plan, "coupon_id"
    )
    targeted = of_coupon.filter(_.audience != "open").inner_join(
        lines.inner_join(reached, "user_id"), ["campaign_id", "product_id"]
    )
    targeted = targeted.filter(targeted.event_us >= targeted.since)
    untargeted = of_coupon.filter(_.audience == "open").inner_join(lines, "product_id")
    untargeted = untargeted.mutate(reached=untargeted.known, lost=ibis.literal(FAR, "int64"))
    trials = ibis.union(*(_trials(one) for one in (targeted, untargeted)))
    counted = trials.group_by([*_BASKET, "enters", "leaves"]).agg(here=_.count().cast("int64"))
    held = counted.filter(counted.leaves > counted.enters).mutate(event_us=_.enters)
    here = stage(window_changes(held, _BASKET, {"here": [None]}))
    moved = distinct_changes(here, _BASKET, _BASKET[:2], {"baskets": ("here_all", 1)})
    return moved.group_by([*_BASKET[:2], "at"]).agg(baskets=_.baskets.sum())


def _trials(lines: ibis.Table) -> ibis.Table:
    """Returns the lines of covered baskets, with the midnights between which each counts."""
    since_start = lines.filter(lines.event_us >= lines.valid_from_us)
    known = ibis.greatest(_.enters, _.paired, _.known, _.reached)
    return since_start.select(
        *_BASKET,
        enters=next_midnight(known),
        leaves=next_midnight(ibis.least(_.leaves, _.lost)),
    )


def coupon_stats(
    baskets: ibis.Table,
    redemptions: ibis.Table,
    exposures: ibis.Table,
    plan: ibis.Table,
    stage: Stage,
) -> ibis.Table:
    """Builds the view ``coupon_campaign_stats``; ``baskets`` are those of ``covered_baskets``."""
    campaign = plan.select("coupon_id", "campaign_id", "known")
    used = standing(redemptions).inner_join(campaign, "coupon_id")
    used = stage(_delayed(used.mutate(coupon_redemption_count=ibis.literal(1, "int64"))))
    of_campaign = used.rename(campaign_redemption_count="coupon_redemption_count")
    tried = baskets.group_by(["coupon_id", "at"]).agg(covered_basket_count=_.baskets.sum())
    tried = stage(tried)
    together = tried.inner_join(campaign.drop("known"), "coupon_id")
    together = together.group_by(["campaign_id", "at"]).agg(
        campaign_covered_basket_count=_.covered_basket_count.sum()
    )
    together = together.inner_join(campaign, "campaign_id")
    together = together.mutate(at=ibis.greatest(together["at"], next_midnight(together.known)))
    parts = [
        window_legs(used, _COUPON, {"coupon_redemption_count": [7, None]}),
        window_legs(_of_all(of_campaign, campaign), _COUPON, {"campaign_redemption_count": [None]}),
        tried,
        together.select("coupon_id", "at", "campaign_covered_basket_count"),
        _exposed(exposures, campaign),
        plan.select("coupon_id", at="known"),
    ]
    return running(stage(add_changes(parts, _COUPON)), _COUPON)


def _delayed(happened: ibis.Table) -> ibis.Table:
    """Delays what happened to a coupon to the instant at which the coupon is known."""
    late = happened.mutate(enters=ibis.greatest(happened.enters, happened.known))
    return late.filter(late.leaves > late.enters).drop("known")


def _of_all(happened: ibis.Table, campaign: ibis.Table) -> ibis.Table:
    """Gives what happened in a campaign to each of its coupons, from when the coupon is known."""
    return _delayed(happened.drop("coupon_id").inner_join(campaign, "campaign_id"))


def _exposed(exposures: ibis.Table, campaign: ibis.Table) -> ibis.Table:
    """Lists the changes of the number of users that the campaign of each coupon reached."""
    seen = versions(exposures, ["exposure_id"]).inner_join(campaign, "campaign_id")
    held = _delayed(seen).select("coupon_id", "user_id", "enters", "leaves")
    held = held.mutate(event_us=_.enters, here=ibis.literal(1, "int64"))
    key = ["coupon_id", "user_id"]
    here = window_changes(held, key, {"here": [None]})
    return distinct_changes(here, key, _COUPON, {"exposed_user_count": ("here_all", 1)})


def user_stats(
    baskets: ibis.Table, users: ibis.Table, plan: ibis.Table, stage: Stage
) -> ibis.Table:
    """Builds the view ``user_campaign_stats``: own covered baskets of coupons that have not ended.

    ``baskets`` are those of ``covered_baskets``.
    """
    key = ["user_id", "coupon_id"]
    values = running(baskets, key)
    following = ibis.window(group_by=key, order_by=values["at"])
    values = values.mutate(until=values["at"].lead(1).over(following).fill_null(FAR))
    ended = plan.select("coupon_id", ends=next_midnight(plan.valid_to_us))
    values = values.inner_join(ended, "coupon_id")
    held = stage(
        values.select(
            *key, enters=_["at"], leaves=ibis.least(_.until, _.ends), baskets=_.baskets
        ).filter(_.baskets > 0, _.leaves > _.enters)
    )
    points = ibis.union(
        baskets.select("user_id", "at"),
        held.select("user_id", at=held.leaves).filter(_["at"] < FAR),
        introductions(users, ["user_id"]),
    ).distinct()
    fields = {"basket_coupon_ids": "coupon_id", "basket_coupon_counts": "baskets"}
    return with_lists(stage(points), held, fields)
