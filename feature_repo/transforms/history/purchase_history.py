"""A user's purchases by product, category and brand: the history, and the part since midnight.

A published row has hundreds of entries, and most are equal from row to row. So each entry is stored
once, with the interval ``[first, until)`` of the rows that contain it. ``assemble`` builds the
requested rows when they are read.
"""

from collections.abc import Sequence

import ibis
from ibis import _
from ibis.expr.types import NumericColumn

from feature_repo.transforms.history.changes import (
    ANCHOR,
    FAR,
    Stage,
    add_changes,
    add_superseded,
    growth,
    last_midnight,
    next_midnight,
    running,
)
from feature_repo.transforms.request.affinity import HISTORY_HALF_LIFE_DAYS, KINDS

CAP = 1024
"""Most entries of a kind in a row; the heaviest are kept."""

_ENTRY = ["user_id", "kind", "id"]


def entry_slices(bought: ibis.Table, attributes: ibis.Table) -> ibis.Table:
    """Lists the part of each purchase version in the entries of its product, category and brand.

    The weight is relative to ``ANCHOR``.
    """
    described = bought.left_join(attributes, "product_id")
    since = ibis.greatest(described.enters, described.known)
    kinds = [
        described.select(
            "event_id",
            "user_id",
            "leaves",
            kind=ibis.literal(kind),
            id=described["product_id" if kind == "product" else kind],
            enters=described.enters if kind == "product" else since,
            count=ibis.literal(1, "int64"),
            uses=described.coupon_purchase_count,
            spend=described.spend,
            weight=growth(described.event_us - ANCHOR, HISTORY_HALF_LIFE_DAYS),
            last=described.event_us,
        )
        for kind in KINDS
    ]
    slices = ibis.union(*kinds)
    return _merge_adjacent(slices.filter(slices["id"].notnull(), slices.leaves > slices.enters))


def _merge_adjacent(slices: ibis.Table) -> ibis.Table:
    """Merges consecutive versions of a purchase with the same content for an entry.

    Adds ``returns``: true if the same content counted at the midnight before and left since then.
    """
    event = ["event_id", "kind"]
    corrected = slices.filter(_.leaves < FAR).select(*event).distinct()
    versions = slices.semi_join(corrected, event)
    before = ibis.window(group_by=_CONTENT, order_by=versions.enters)
    marked = versions.mutate(starts=versions.leaves.lag().over(before) != versions.enters)
    so_far = ibis.cumulative_window(group_by=_CONTENT, order_by=marked.enters)
    runs = marked.mutate(run=marked.starts.fill_null(True).cast("int64").sum().over(so_far))
    whole = runs.group_by([*_CONTENT, "run"]).agg(enters=_.enters.min(), leaves=_.leaves.max())
    lasting = slices.anti_join(corrected, event).mutate(returns=ibis.literal(False))
    return ibis.union(lasting, _returning(whole).select(lasting.columns))


def _returning(runs: ibis.Table) -> ibis.Table:
    before = ibis.window(group_by=_CONTENT, order_by=runs.enters)
    dated = runs.mutate(gone=runs.leaves.lag().over(before), day=last_midnight(runs.enters))
    of_day = ibis.window(group_by=[*_CONTENT, "day"], order_by=dated.enters)
    returns = (dated.gone.first().over(of_day) >= dated.day).fill_null(False)
    return dated.mutate(returns=returns)


_CONTENT = ["event_id", *_ENTRY, "count", "uses", "spend", "weight", "last"]
_SUMS = ("count", "uses", "spend")


def history(slices: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """Builds the rows and entries of ``user_purchase_history``, at each midnight after a change."""
    daily = slices.mutate(
        enters=next_midnight(slices.enters),
        leaves=ibis.ifelse(slices.leaves < FAR, next_midnight(slices.leaves), FAR),
    )
    daily = daily.filter(daily.leaves > daily.enters)
    values = stage(_values(daily.mutate(ends=daily.leaves), _ENTRY))
    held = _with_superseded(values, _ENTRY, daily, daily)
    entries = held.mutate(until=held.until.fill_null(FAR)).rename(first="at")
    return values.select("user_id", "at").distinct(), entries.filter(entries["count"] > 0)


def recent(slices: ibis.Table, stage: Stage) -> tuple[ibis.Table, ibis.Table]:
    """Builds the rows and entries of ``user_recent_purchases``: changes since midnight.

    A correction counts as a difference, so an entry can be negative. The last purchase of an entry
    is the last of all its purchases that count, not a difference.
    """
    key = [*_ENTRY, "midnight"]
    within = _within_day(slices)
    values = stage(_values(within, key, [*_SUMS, "gained"]))
    rows = ibis.union(
        values.select("user_id", "at"), values.select("user_id", at=values.midnight)
    ).distinct()
    held = _with_superseded(values, key, within, slices)
    # An entry that entered and left on the same day without any gain is dropped.
    held = held.filter((held["count"] != 0) | (held.gained > 0))
    entries = held.mutate(until=held.until.fill_null(held.midnight)).rename(first="at")
    return rows, entries.drop("midnight", "gained")


def _within_day(slices: ibis.Table) -> ibis.Table:
    """Lists the gain of a version on the day it enters, and its loss if it leaves on a later day.

    ``ends`` is the instant at which the version leaves.
    """
    midnight = next_midnight(slices.enters)
    added = slices.mutate(
        midnight=midnight,
        leaves=ibis.ifelse(slices.leaves < midnight, slices.leaves, FAR),
        ends=slices.leaves,
        gained=(~slices.returns).cast("int64"),
    )
    lost = slices.filter((slices.leaves < FAR) & (slices.leaves >= midnight))
    taken = lost.mutate(
        midnight=next_midnight(lost.leaves),
        enters=lost.leaves,
        leaves=ibis.literal(FAR),
        ends=lost.leaves,
        count=-lost["count"],
        uses=-lost.uses,
        spend=-lost.spend,
        weight=-lost.weight,
        last=ibis.null("int64"),
        gained=ibis.literal(0, "int64"),
    )
    return ibis.union(added, taken.select(added.columns))


def _values(slices: ibis.Table, key: list[str], sums: Sequence[str] = _SUMS) -> ibis.Table:
    """Computes the running values of each entry; ``until`` is its next change, null if none."""
    entering = slices.select(
        *key,
        *sums,
        at=slices.enters,
        weight=ibis.ifelse(slices.leaves >= FAR, slices.weight, 0.0),
        last=ibis.ifelse(slices.ends >= FAR, slices["last"], ibis.null("int64")),
    )
    gone = slices.filter(slices.leaves < FAR)
    leaving = gone.select(*key, at=gone.leaves, **{name: -gone[name] for name in sums})
    changes = add_changes([entering, leaving], key, {"last"})
    values = running(changes, key, {"last"}, maxima_by=_ENTRY)
    following = ibis.window(group_by=key, order_by=values["at"])
    return values.mutate(until=values["at"].lead(1).over(following))


def _with_superseded(
    values: ibis.Table, key: list[str], weighing: ibis.Table, lasting: ibis.Table
) -> ibis.Table:
    """Adds the versions that are superseded later, at the instants at which they count."""
    weighed = add_superseded(values, key, weighing, sums={"weight": "weight"})
    return add_superseded(weighed, _ENTRY, lasting, maxima={"last": "last"})


def assemble(wanted: ibis.Table, entries: ibis.Table, part: str) -> ibis.Table:
    """Builds the lists of the wanted rows (``user_id``, ``at``) in fields ``<part>_<kind>_...``.

    A kind has at most ``CAP`` entries, the heaviest, by decreasing weight and then by id. Weights
    are decayed to the row's instant. The last instant of an entry without a purchase is 0.
    """
    held = entries.rename(held_user="user_id")
    joined = wanted.select("user_id", "at").inner_join(
        held,
        [_.user_id == held.held_user, _["at"] >= held["first"], _["at"] < held.until],
    )
    joined = joined.mutate(
        last=joined["last"].fill_null(0),
        decayed=joined.weight * growth(ANCHOR - joined["at"], HISTORY_HALF_LIFE_DAYS),
    )
    order = ibis.window(
        group_by=["user_id", "at", "kind"], order_by=[*_heaviest(joined.decayed), joined["id"]]
    )
    ranked = joined.mutate(place=ibis.row_number().over(order)).filter(_.place < CAP)
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


def _heaviest(weight: NumericColumn) -> list[NumericColumn]:
    """Returns an order by decreasing weight in which rounding errors make no difference.

    The last digits of a sum depend on the order of its terms. So weights are rounded to steps on a
    logarithmic scale. A rounding error is less than a step, and a purchase one microsecond later
    is more than two steps.
    """
    digits = (weight.abs().nullif(0.0).log2() * 2e13).round()
    return [weight.sign().desc(), (digits * weight.sign()).desc()]


_FIELDS = {
    "ids": "id",
    "counts": "count",
    "decayed_90d": "decayed",
    "last_timestamps": "last",
    "coupon_counts": "uses",
    "amounts": "spend",
}
