"""From events to change points: exactly when does each stored value change, and by how much.

An event is visible at ``t`` if it happened and was learned strictly before ``t``; the version
learned last counts. So each version contributes on an interval ``(enters, leaves]`` of ``t``, and
inside a window of ``w`` on ``(enters, min(event + w, leaves]]``. A value is the running sum of
what enters and leaves, published at the instants where it changes. All expressions are plain
Ibis over int64 microseconds; nothing is specific to one engine.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import ibis
from ibis import _

DAY = 86_400_000_000
FAR = 253_402_300_800_000_000
"""Later than every instant: the end of the year 9999, in microseconds."""

ANCHOR = 473_385_600_000_000
"""1985-01-01 UTC in microseconds: decayed sums are kept relative to it while they are added up.

With a half-life of 30 days 64-bit floats can hold weights from 84 years before it to 84 after.
"""

Stage = Callable[[ibis.Table], ibis.Table]
"""Keeps an intermediate result that is used more than once, as ``ibis.Table.cache`` does."""


def next_midnight(instant):
    """The first UTC midnight strictly after an instant: when a daily aggregate first sees it."""
    return instant - instant % DAY + DAY


def versions(raw: ibis.Table, key: Sequence[str]) -> ibis.Table:
    """Row versions with ``enters`` and ``leaves``, the interval in which each is what is known.

    A version is superseded when one that was learned later becomes visible; until then, and if
    that one lies in the future, the older one counts. Versions that never count are dropped.
    """
    entered = raw.mutate(enters=ibis.greatest(_.event_us, _.created_us))
    later = ibis.window(group_by=list(key), order_by=_.created_us, rows=(1, None))
    ended = entered.mutate(leaves=_.enters.min().over(later).fill_null(FAR))
    return ended.filter(_.leaves > _.enters)


def growth(microseconds, half_life_days: float):
    """The factor 2 ** (days / half_life_days): what an anchored weight is worth at an instant."""
    return ibis.literal(2.0) ** (microseconds.cast("float64") / (half_life_days * DAY))


def window_legs(
    slices: ibis.Table,
    key: Sequence[str],
    measures: Mapping[str, Sequence[int | None]],
    at: Callable = lambda instant: instant,
) -> ibis.Table:
    """What each measure gains and loses, a column a measure and window, rows in no order.

    ``slices`` has the key, ``event_us``, ``enters``, ``leaves`` and the measures; ``measures`` maps
    each to its windows in days (None: without end). ``at`` moves an instant to where the value is
    published, such as the next midnight. The result has the key, ``at`` and ``<measure>_<n>d``
    or ``<measure>_all``.
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
    at: Callable = lambda instant: instant,
) -> ibis.Table:
    """``window_legs`` with one row an instant."""
    legs = window_legs(slices, key, measures, at)
    columns = [_column(m, w) for m, ws in measures.items() for w in ws]
    return legs.group_by([*key, "at"]).agg(**{c: legs[c].sum() for c in columns})


def _column(measure: str, window: int | None) -> str:
    return f"{measure}_all" if window is None else f"{measure}_{window}d"


def _leaving(slices: ibis.Table, window: int | None):
    """The last instant at which a slice still counts."""
    if window is None:
        return slices.leaves
    return ibis.least(slices.event_us + window * DAY, slices.leaves)


def _leg(slices, key, measures, window, at) -> ibis.Table:
    """What leaves a window: the negative of what entered it."""
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
    """The value of each column from each instant on: its changes so far, added up.

    Of the columns in ``maxima`` it is the greatest so far, over all rows that agree in
    ``maxima_by`` (by default the key).
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
    """Changes of how many inner keys of an outer key have a running value of at least so much.

    ``counted`` maps the resulting column to the column of ``changes`` and the least value. There
    may be several rows an instant.
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
    """Changes of several measures in one table, one row an instant.

    A part that lacks a column leaves it unchanged. Columns in ``maxima`` hold occurrences, of
    which the greatest is kept, instead of differences, which are added up.
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
                name: part[name] if name in part.columns else _nothing(kind, name in maxima)
                for name, kind in columns.items()
            },
        )
        for part in parts
    ]
    total = ibis.union(*legs)
    return total.group_by([*key, "at"]).agg(
        **{name: total[name].max() if name in maxima else total[name].sum() for name in columns}
    )


def _nothing(kind, is_maximum: bool):
    return ibis.null(kind) if is_maximum else ibis.literal(0).cast(kind)


def add_superseded(
    points: ibis.Table,
    key: Sequence[str],
    slices: ibis.Table,
    sums: Mapping[str, str] = {},
    maxima: Mapping[str, str] = {},
) -> ibis.Table:
    """Adds to what lasts (never corrected) what was corrected later and still counts at each point.

    ``sums`` and ``maxima`` map columns of ``points`` to those of ``slices`` that go into them.
    Floats are added up this way because a difference of two large ones would not be exact, and a
    maximum cannot be taken back. Corrections are few, so they are looked up one by one.
    """
    held = slices.filter(slices.leaves < FAR)
    held = held.select(
        *(held[name].name(f"held_{name}") for name in key),
        held.enters,
        held.leaves,
        **{f"more_{new}": held[old] for new, old in (sums | maxima).items()},
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
        new: ibis.greatest(*(one.fill_null(-1) for one in both)).nullif(-1)
        for new, both in either.items()
    }
    return joined.mutate(**added, **newest).select(points.columns)


def newest_description(raw: ibis.Table, key: str) -> ibis.Table:
    """The versions of a description with ``at``, from when each is the one that counts."""
    entered = raw.mutate(at=ibis.greatest(_.event_us, _.created_us))
    so_far = ibis.cumulative_window(group_by=key, order_by=[entered["at"], entered.created_us])
    marked = entered.mutate(newest=entered.created_us.max().over(so_far))
    kept = marked.filter(_.created_us == _.newest)
    rank = ibis.row_number().over(group_by=[key, "at"], order_by=_.created_us.desc())
    return kept.mutate(place=rank).filter(_.place == 0).drop("newest", "place")


def first_description(raw: ibis.Table, key: str) -> ibis.Table:
    """The version of each description that counted first, and since when it is ``known``.

    It never changes in the light of later knowledge, and says nothing before it is known.
    """
    entered = raw.mutate(known=ibis.greatest(_.event_us, _.created_us))
    first = [entered.known, entered.created_us.desc()]
    rank = ibis.row_number().over(group_by=key, order_by=first)
    return entered.mutate(place=rank).filter(_.place == 0).drop("place")
