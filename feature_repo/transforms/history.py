"""What a user bought, entry by entry: the sparse history and what came since midnight.

A published row holds hundreds of entries and most stay the same from row to row, so the lake
keeps each entry once with the interval ``[first, until)`` of rows in which it stands. A row is
put together when it is read (``assembled``), for the rows that are asked for.
"""

from collections.abc import Callable

import ibis
from ibis import _

from feature_repo.transforms.changes import ANCHOR, FAR, Stage, growth, next_midnight
from feature_repo.transforms.request import HISTORY_HALF_LIFE_DAYS

CAP = 512
KINDS = ("product", "category", "brand")

_ENTRY = ["user_id", "kind", "id"]


def entry_changes(bought: ibis.Table, attributes: ibis.Table) -> ibis.Table:
    """What every entry gains and loses at each instant: counts, anchored weight, last purchase."""
    described = bought.left_join(attributes, "product_id")
    weight = growth(described.event_us - ANCHOR, HISTORY_HALF_LIFE_DAYS)
    described = described.mutate(weight=weight, uses=described.coupon_purchase_count)
    kinds = [
        described.select(
            "user_id",
            "event_us",
            "enters",
            "leaves",
            "weight",
            "uses",
            kind=ibis.literal(kind),
            id=described["product_id" if kind == "product" else kind],
        )
        for kind in KINDS
    ]
    long = ibis.union(*kinds).filter(_.id.notnull())
    gone = long.filter(_.leaves < FAR)
    return ibis.union(
        long.select(
            *_ENTRY,
            at=_.enters,
            count=ibis.literal(1, "int64"),
            weight="weight",
            uses="uses",
            last="event_us",
            until="leaves",
        ),
        gone.select(
            *_ENTRY,
            at=_.leaves,
            count=ibis.literal(-1, "int64"),
            weight=-_.weight,
            uses=-_.uses,
            last=ibis.null("int64"),
            until=ibis.null("int64"),
        ),
    )


def history(changes: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """The rows and entries of ``user_purchase_history``, as of each midnight after a change."""
    moved = changes.mutate(at=next_midnight(changes["at"]), until=_published(changes.until))
    entries = stage(_running(moved, _ENTRY, lambda table: ibis.literal(FAR)))
    rows = entries.select("user_id", at=entries["first"]).distinct()
    return rows, entries.filter(entries["count"] > 0)


def _published(until):
    """When a daily aggregate sees that a version left; what never leaves stays so."""
    return ibis.ifelse(until < FAR, next_midnight(until), until)


def recent(changes: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """The rows and entries of ``user_recent_purchases``: what came since midnight, until the next.

    A correction counts as the difference that it makes, so an entry may be negative.
    """
    within = changes.mutate(midnight=next_midnight(changes["at"]))
    entries = stage(_running(within, [*_ENTRY, "midnight"], lambda table: table.midnight))
    rows = ibis.union(
        entries.select("user_id", at=entries["first"]),
        entries.select("user_id", at=entries.midnight),
    ).distinct()
    return rows, entries.drop("midnight")


def _running(changes: ibis.Table, key: list[str], end: Callable) -> ibis.Table:
    """Entries with their running values, each from its change to the next or to ``end``."""
    summed = changes.group_by([*key, "at"]).agg(
        count=_["count"].sum().cast("int64"),
        weight=_.weight.sum(),
        uses=_.uses.sum().cast("int64"),
        last=_["last"].max(where=_.until == FAR),
    )
    so_far = ibis.cumulative_window(group_by=key, order_by=summed["at"])
    order = ibis.window(group_by=key, order_by=summed["at"])
    table = summed.mutate(
        until=summed["at"].lead(1).over(order),
        **{name: summed[name].sum().over(so_far) for name in ("count", "weight", "uses")},
        last=summed["last"].max().over(so_far),
    )
    table = table.mutate(until=table.until.fill_null(end(table)))
    return _with_corrected_last(table, changes, key).rename(first="at")


def _with_corrected_last(entries: ibis.Table, changes: ibis.Table, key: list[str]) -> ibis.Table:
    """Takes into ``last`` the versions that were superseded later, where they still counted."""
    corrected = changes.filter(_.until < FAR).select(
        *key, entered="at", left="until", happened="last"
    )
    still = entries.select(*key, "at").inner_join(corrected, key)
    still = still.filter(_["at"] >= _.entered, _["at"] < _.left)
    patch = still.group_by([*key, "at"]).agg(happened=_.happened.max())
    joined = entries.left_join(patch, [*key, "at"])
    joined = joined.drop(*(f"{name}_right" for name in [*key, "at"]))
    newest = ibis.greatest(joined["last"].fill_null(-1), joined.happened.fill_null(-1)).nullif(-1)
    return joined.mutate(last=newest).drop("happened")


def assembled(wanted: ibis.Table, entries: ibis.Table, part: str) -> ibis.Table:
    """The lists of the wanted rows (``user_id``, ``at``), one row each, fields ``<part>_<kind>_...``.

    At most ``CAP`` entries a kind, the heaviest, in falling weight with ties by id. Weights are
    decayed to the row's instant.
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
