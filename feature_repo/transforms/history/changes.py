"""Change points of features: the instants at which a stored value changes, and by how much.

An event is visible at ``t`` if it happened and was learned strictly before ``t``. Of its visible
versions the one learned last counts. So a version counts for ``t`` in ``(enters, leaves]``, and in
a window of length ``w`` for ``t`` in ``(enters, min(event + w, leaves)]``. A value is the running
sum of entering and leaving amounts, published at the instants of change. All expressions are plain
Ibis over int64 microseconds, so they run on any engine.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import ibis
from ibis import _
from ibis.expr.types import IntegerColumn, IntegerValue, NumericValue

from feature_repo.instants import DAY

FAR = 253_402_300_800_000_000
"""The end of the year 9999 in microseconds, later than every instant: no end."""

ANCHOR = 473_385_600_000_000
"""1985-01-01 UTC in microseconds: the reference instant of decayed sums during summation.

With a half-life of 30 days, 64-bit floats can hold weights from 84 years before to 84 years after.
"""

Stage = Callable[[ibis.Table], ibis.Table]
"""A function that stores an intermediate result for several uses, as ``ibis.Table.cache`` does."""


def last_midnight(instant: IntegerValue) -> IntegerValue:
    """Returns the last UTC midnight that is not after an instant, also before 1970."""
    return instant - (instant % DAY + DAY) % DAY


def next_midnight(instant: IntegerValue) -> IntegerValue:
    """Returns the first UTC midnight strictly after an instant."""
    return last_midnight(instant) + DAY


def versions(raw: ibis.Table, key: Sequence[str]) -> ibis.Table:
    """Adds ``enters`` and ``leaves`` to row versions: the interval in which each version counts.

    A version leaves when a version learned later becomes visible. A later version that takes effect
    in the future does not replace it before then. Versions that never count are dropped.
    """
    entered = raw.mutate(enters=ibis.greatest(_.event_us, _.created_us))
    later = ibis.window(group_by=list(key), order_by=_.created_us, rows=(1, None))
    ended = entered.mutate(leaves=_.enters.min().over(later).fill_null(FAR))
    return ended.filter(_.leaves > _.enters)


def standing(redemptions: ibis.Table) -> ibis.Table:
    """Returns the ``versions`` of redemptions; one that was taken back leaves at that instant."""
    counted = versions(redemptions, ["redemption_id"])
    ended = counted.mutate(leaves=ibis.least(_.leaves, _.canceled_us.fill_null(FAR)))
    return ended.filter(_.leaves > _.enters).drop("canceled_us")


def growth(microseconds: IntegerValue, half_life_days: float) -> NumericValue:
    """Returns 2 ** (days / half_life_days), the factor that moves a weight to another reference."""
    return ibis.literal(2.0) ** (microseconds.cast("float64") / (half_life_days * DAY))


def window_legs(
    slices: ibis.Table,
    key: Sequence[str],
    measures: Mapping[str, Sequence[int | None]],
    at: Callable[[IntegerValue], IntegerValue] = lambda instant: instant,
) -> ibis.Table:
    """Lists the gains and losses of each measure in each window, in rows without order.

    ``slices`` has the key, ``event_us``, ``enters``, ``leaves`` and the measures. ``measures`` maps
    each measure to its windows in days (None: no end). ``at`` maps an instant to the instant of
    publication, such as the next midnight. The result has the key, ``at``, and a column
    ``<measure>_<n>d`` or ``<measure>_all`` for each measure and window.
    """
    windows = sorted({w for ws in measures.values() for w in ws}, key=lambda w: w or 10**6)
    entering = slices.select(
        *key,
        at=at(slices.enters),
        **{
            _column(m, w): ibis.ifelse(
                at(_leaving(slices, w)) > at(slices.enters), slices[m], ibis.literal(0)
            ).cast("int64")
            for m, ws in measures.items()
            for w in ws
        },
    )
    return ibis.union(entering, *(_leg(slices, key, measures, window, at) for window in windows))


def window_changes(
    slices: ibis.Table,
    key: Sequence[str],
    measures: Mapping[str, Sequence[int | None]],
    at: Callable[[IntegerValue], IntegerValue] = lambda instant: instant,
) -> ibis.Table:
    """Sums ``window_legs`` to one row for each key and instant."""
    legs = window_legs(slices, key, measures, at)
    columns = [_column(m, w) for m, ws in measures.items() for w in ws]
    return legs.group_by([*key, "at"]).agg(**{c: legs[c].sum() for c in columns})


def _column(measure: str, window: int | None) -> str:
    return f"{measure}_all" if window is None else f"{measure}_{window}d"


def _leaving(slices: ibis.Table, window: int | None) -> IntegerColumn:
    """Returns the last instant at which a slice still counts."""
    if window is None:
        return slices.leaves
    return ibis.least(slices.event_us + window * DAY, slices.leaves)


def _leg(
    slices: ibis.Table,
    key: Sequence[str],
    measures: Mapping[str, Sequence[int | None]],
    window: int | None,
    at: Callable[[IntegerValue], IntegerValue],
) -> ibis.Table:
    """Lists the losses when slices leave a window: the negative of their gains."""
    leaving = _leaving(slices, window)
    gone = slices.filter(leaving < FAR, at(leaving) > at(slices.enters))
    columns = {
        _column(m, w): (-gone[m] if w == window else ibis.literal(0)).cast("int64")
        for m, ws in measures.items()
        for w in ws
    }
    return gone.select(*key, at=at(_leaving(gone, window)), **columns)


def running(
    changes: ibis.Table,
    key: Sequence[str],
    maxima: Collection[str] = (),
    maxima_by: Sequence[str] = (),
) -> ibis.Table:
    """Computes the value of each column from each instant on: the running sum of its changes.

    For columns in ``maxima`` it is the running maximum, over all rows with the same ``maxima_by``
    (by default the key).
    """
    so_far = ibis.cumulative_window(group_by=list(key), order_by=changes["at"])
    ever = ibis.cumulative_window(group_by=list(maxima_by or key), order_by=changes["at"])
    columns = [name for name in changes.columns if name not in (*key, "at")]
    return changes.mutate(
        **{
            name: changes[name].max().over(ever)
            if name in maxima
            else changes[name].sum().over(so_far)
            for name in columns
        }
    )


def distinct_changes(
    changes: ibis.Table,
    inner: Sequence[str],
    outer: Sequence[str],
    counted: Mapping[str, tuple[str, int]],
) -> ibis.Table:
    """Lists changes of the number of inner keys whose running value reaches a threshold.

    The number is counted for each outer key. ``counted`` maps a resulting column to a column of
    ``changes`` and its threshold. An instant can have several rows.
    """
    so_far = ibis.cumulative_window(group_by=list(inner), order_by=changes["at"])
    sources = sorted({source for source, _least in counted.values()})
    values = changes.mutate(**{f"{s}_now": changes[s].sum().over(so_far) for s in sources})
    moved = values.select(
        *outer,
        "at",
        **{
            name: (values[f"{source}_now"] >= least).cast("int64")
            - (values[f"{source}_now"] - values[source] >= least).cast("int64")
            for name, (source, least) in counted.items()
        },
    )
    return moved.filter(ibis.or_(*(moved[name] != 0 for name in counted)))


def add_changes(
    parts: Sequence[ibis.Table], key: Sequence[str], maxima: Collection[str] = ()
) -> ibis.Table:
    """Merges changes of several measures into one table, with one row for each key and instant.

    A part without a column does not change it. Most columns are differences and are summed.
    Columns in ``maxima`` are values, and the greatest is kept.
    """
    columns = {
        name: part[name].type()
        for part in parts
        for name in part.columns
        if name not in (*key, "at")
    }
    legs = [
        part.select(
            *key,
            "at",
            **{
                name: part[name] if name in part.columns else _no_change(kind, name in maxima)
                for name, kind in columns.items()
            },
        )
        for part in parts
    ]
    total = ibis.union(*legs)
    return total.group_by([*key, "at"]).agg(
        **{name: total[name].max() if name in maxima else total[name].sum() for name in columns}
    )


def _no_change(kind: ibis.DataType, is_maximum: bool) -> ibis.Scalar:
    return ibis.null(kind) if is_maximum else ibis.literal(0).cast(kind)


def add_superseded(
    points: ibis.Table,
    key: Sequence[str],
    slices: ibis.Table,
    sums: Mapping[str, str] = {},
    maxima: Mapping[str, str] = {},
) -> ibis.Table:
    """Adds the slices that count at each point and are superseded later.

    ``points`` has the values of slices that are never superseded. ``sums`` and ``maxima`` map
    columns of ``points`` to columns of ``slices``. Running differences would not do: the difference
    of two large floats is not exact, and a maximum has no inverse. Superseded slices are few, so
    each point is joined with them.
    """
    held = slices.filter(slices.leaves < FAR)
    held = held.select(
        *(held[name].name(f"held_{name}") for name in key),
        held.enters,
        held.leaves,
        **{f"more_{new}": held[old] for new, old in {**sums, **maxima}.items()},
    )
    matched = points.select(*key, "at").inner_join(
        held,
        [_[name] == held[f"held_{name}"] for name in key]
        + [_["at"] >= held.enters, _["at"] < held.leaves],
    )
    more = matched.group_by([*key, "at"]).agg(
        **{f"more_{new}": matched[f"more_{new}"].sum() for new in sums},
        **{f"more_{new}": matched[f"more_{new}"].max() for new in maxima},
    )
    joined = points.left_join(more, [*key, "at"])
    added = {new: joined[new] + joined[f"more_{new}"].fill_null(0) for new in sums}
    either = {new: (joined[new], joined[f"more_{new}"]) for new in maxima}
    newest = {
        new: ibis.greatest(*(one.fill_null(-FAR) for one in both)).nullif(-FAR)
        for new, both in either.items()
    }
    return joined.mutate(**added, **newest).select(points.columns)


def newest_description(raw: ibis.Table, key: str) -> ibis.Table:
    """Keeps the versions of a description that ever count; ``at`` is when each begins to count."""
    entered = raw.mutate(at=ibis.greatest(_.event_us, _.created_us))
    so_far = ibis.cumulative_window(group_by=key, order_by=[entered["at"], entered.created_us])
    marked = entered.mutate(newest=entered.created_us.max().over(so_far))
    kept = marked.filter(_.created_us == _.newest)
    rank = ibis.row_number().over(group_by=[key, "at"], order_by=_.created_us.desc())
    return kept.mutate(place=rank).filter(_.place == 0).drop("newest", "place")


def first_description(raw: ibis.Table, key: str) -> ibis.Table:
    """Returns the version of each description that counted first; it is ``known`` from an instant.

    Later versions never change it. It must not be used before ``known``.
    """
    entered = raw.mutate(known=ibis.greatest(_.event_us, _.created_us))
    first = [entered.known, entered.created_us.desc()]
    rank = ibis.row_number().over(group_by=key, order_by=first)
    return entered.mutate(place=rank).filter(_.place == 0).drop("place")
