"""What a user bought, entry by entry: the sparse history and what came since midnight.

A published row holds hundreds of entries and most stay the same from row to row, so the lake
keeps each entry once with the interval ``[first, until)`` of rows in which it stands. A row is
put together when it is read (``assembled``), for the rows that are asked for.
"""

import ibis
from ibis import _

from feature_repo.transforms.affinity import HISTORY_HALF_LIFE_DAYS, KINDS
from feature_repo.transforms.changes import (
    ANCHOR,
    FAR,
    Stage,
    add_changes,
    add_superseded,
    growth,
    next_midnight,
    running,
)

CAP = 512

_ENTRY = ["user_id", "kind", "id"]


def purchased(bought: ibis.Table, attributes: ibis.Table) -> ibis.Table:
    """What each purchase version adds to the entries of its product, category and brand.

    The weight is anchored: what it was worth if the purchase had happened at ``ANCHOR``.
    """
    described = bought.left_join(attributes, "product_id")
    kinds = [
        described.select(
            "user_id",
            "enters",
            "leaves",
            kind=ibis.literal(kind),
            id=described["product_id" if kind == "product" else kind],
            count=ibis.literal(1, "int64"),
            uses=described.coupon_purchase_count,
            weight=growth(described.event_us - ANCHOR, HISTORY_HALF_LIFE_DAYS),
            last=described.event_us,
        )
        for kind in KINDS
    ]
    return ibis.union(*kinds).filter(_.id.notnull())


def history(slices: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """The rows and entries of ``user_purchase_history``, as of each midnight after a change."""
    daily = slices.mutate(
        enters=next_midnight(slices.enters),
        leaves=ibis.ifelse(slices.leaves < FAR, next_midnight(slices.leaves), FAR),
    )
    daily = daily.filter(daily.leaves > daily.enters)
    values = stage(_values(daily, _ENTRY))
    entries = _entries(values, daily, _ENTRY, ibis.literal(FAR))
    return values.select("user_id", "at").distinct(), entries.filter(_["count"] > 0)


def recent(slices: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """The rows and entries of ``user_recent_purchases``: what came since midnight, until the next.

    A correction counts as the difference that it makes, so an entry may be negative.
    """
    key = [*_ENTRY, "midnight"]
    within = _within_day(slices)
    values = stage(_values(within, key))
    rows = ibis.union(
        values.select("user_id", "at"), values.select("user_id", at=values.midnight)
    ).distinct()
    entries = _entries(values, within, key, values.midnight).drop("midnight")
    # An entry that came and went within the day, as if it had never been, is none.
    return rows, entries.filter((entries["count"] != 0) | entries["last"].notnull())


def _within_day(slices: ibis.Table) -> ibis.Table:
    """What each version adds on the day it enters, and takes away on a later day it leaves."""
    midnight = next_midnight(slices.enters)
    added = slices.mutate(
        midnight=midnight, leaves=ibis.ifelse(slices.leaves < midnight, slices.leaves, FAR)
    )
    lost = slices.filter((slices.leaves < FAR) & (slices.leaves >= midnight))
    taken = lost.mutate(
        midnight=next_midnight(lost.leaves),
        enters=lost.leaves,
        leaves=ibis.literal(FAR),
        count=-lost["count"],
        uses=-lost.uses,
        weight=-lost.weight,
        last=ibis.null("int64"),
    )
    return ibis.union(added, taken.select(added.columns))


def _values(slices: ibis.Table, key: list[str]) -> ibis.Table:
    """The running values of every entry, with ``until``: when the next change comes, if any."""
    lasts = slices.leaves >= FAR
    entering = slices.select(
        *key,
        "count",
        "uses",
        at=slices.enters,
        weight=ibis.ifelse(lasts, slices.weight, 0.0),
        last=ibis.ifelse(lasts, slices["last"], ibis.null("int64")),
    )
    gone = slices.filter(slices.leaves < FAR)
    leaving = gone.select(*key, at=gone.leaves, count=-gone["count"], uses=-gone.uses)
    values = running(add_changes([entering, leaving], key, {"last"}), key, {"last"})
    following = ibis.window(group_by=key, order_by=values["at"])
    return values.mutate(until=values["at"].lead(1).over(following))


def _entries(values: ibis.Table, slices: ibis.Table, key: list[str], end) -> ibis.Table:
    """Entries from each change to the next or to ``end``, corrected versions where they count."""
    held = add_superseded(
        values.mutate(until=values.until.fill_null(end)),
        key,
        slices,
        {"weight": "weight"},
        {"last": "last"},
    )
    return held.rename(first="at")


def assembled(wanted: ibis.Table, entries: ibis.Table, part: str) -> ibis.Table:
    """The lists of the wanted rows (``user_id``, ``at``), fields ``<part>_<kind>_...``.

    At most ``CAP`` entries a kind, the heaviest, in falling weight with ties by id. Weights are
    decayed to the row's instant. An entry that only takes away has no last purchase: 0.
    """
    held = entries.rename(held_user="user_id")
    joined = wanted.select("user_id", "at").inner_join(
        held,
        [_.user_id == held.held_user, _["at"] >= held["first"], _["at"] < held.until],
    )
    order = ibis.window(
        group_by=["user_id", "at", "kind"], order_by=[joined.weight.desc(), joined["id"]]
    )
    ranked = joined.mutate(
        place=ibis.row_number().over(order),
        last=joined["last"].fill_null(0),
        decayed=joined.weight * growth(ANCHOR - joined["at"], HISTORY_HALF_LIFE_DAYS),
    ).filter(_.place < CAP)
    lists = ranked.group_by(["user_id", "at"]).agg(
        **{
            f"{part}_{kind}_{field}": ranked[column].collect(
                where=ranked.kind == kind, order_by=ranked.place
            )
            for kind in KINDS
            for field, column in _FIELDS.items()
        }
    )
    out = wanted.select("user_id", "at").left_join(lists, ["user_id", "at"])
    out = out.drop("user_id_right", "at_right")
    return out.mutate(**{f"{part}_reference_timestamp": out["at"]})


_FIELDS = {
    "ids": "id",
    "counts": "count",
    "decayed_90d": "decayed",
    "last_timestamps": "last",
    "coupon_counts": "uses",
}
