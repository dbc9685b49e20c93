"""From events to change points: exactly when does each stored value change, and by how much.

An event is visible at ``t`` if it happened and was learned strictly before ``t``; the version
learned last counts. So each version contributes on an interval ``(enters, leaves]`` of ``t``, and
inside a window of ``w`` on ``(enters, min(event + w, leaves]]``. A value is the running sum of
what enters and leaves, published at the instants where it changes. All expressions are plain
Ibis over int64 microseconds; nothing is specific to one engine.
"""

from collections.abc import Callable, Mapping, Sequence

import ibis
from ibis import _

DAY = 86_400_000_000
FAR = 253_402_300_800_000_000
"""Later than every instant: the end of the year 9999, in microseconds."""

ANCHOR = 1_577_836_800_000_000
"""2020-01-01 UTC in microseconds: decayed sums are kept relative to it while they are added up."""

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


def window_changes(
    slices: ibis.Table,
    key: Sequence[str],
    measures: Mapping[str, Sequence[int | None]],
    at: Callable = lambda instant: instant,
) -> ibis.Table:
    """What each measure gains and loses at each instant, one column a measure and window.

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
    legs = [entering] + [_leg(slices, key, measures, window, at) for window in windows]
    total = ibis.union(*legs)
    columns = [_column(m, w) for m, ws in measures.items() for w in ws]
    return total.group_by([*key, "at"]).agg(**{c: total[c].sum().cast("int64") for c in columns})


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


def running(changes: ibis.Table, key: Sequence[str], columns: Sequence[str]) -> ibis.Table:
    """The value of each column from each instant on: the running sum of its changes."""
    so_far = ibis.cumulative_window(group_by=list(key), order_by=changes["at"])
    return changes.mutate(**{c: changes[c].sum().over(so_far) for c in columns})


def distinct_changes(
    changes: ibis.Table,
    inner: Sequence[str],
    outer: Sequence[str],
    counted: Mapping[str, tuple[str, int]],
) -> ibis.Table:
    """Changes of how many inner keys of an outer key have a running value of at least so much.

    ``counted`` maps the resulting column to the column of ``changes`` and the least value.
    """
    values = running(changes, inner, [source for source, _least in counted.values()])
    flags = values.mutate(
        **{
            name: (values[source] >= least).cast("int64")
            for name, (source, least) in counted.items()
        }
    )
    before = ibis.window(group_by=list(inner), order_by=flags["at"])
    moved = flags.mutate(
        **{name: flags[name] - flags[name].lag(1).over(before).fill_null(0) for name in counted}
    )
    return moved.group_by([*outer, "at"]).agg(**{name: moved[name].sum() for name in counted})


def add_changes(parts: Sequence[ibis.Table], key: Sequence[str]) -> ibis.Table:
    """Changes of several measures in one table; a part that lacks a column leaves it unchanged."""
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
                name: part[name] if name in part.columns else ibis.literal(0).cast(kind)
                for name, kind in columns.items()
            },
        )
        for part in parts
    ]
    total = ibis.union(*legs)
    return total.group_by([*key, "at"]).agg(
        **{name: total[name].sum().cast(kind) for name, kind in columns.items()}
    )


def latest(
    points: ibis.Table,
    key: str,
    occurrences: ibis.Table,
    column: str,
) -> ibis.Table:
    """Adds to each change point the latest ``event_us`` of the occurrences that count there.

    ``occurrences`` has the key, ``event_us``, ``enters`` and ``leaves``. Those that were never
    corrected make a running maximum; the few that were are looked up one by one.
    """
    lasting = occurrences.filter(_.leaves == FAR)
    marks = ibis.union(
        lasting.select(key, at=_.enters, seen=_.event_us),
        points.select(key, "at", seen=ibis.null("int64")),
    )
    marks = marks.group_by([key, "at"]).agg(seen=_.seen.max())
    so_far = ibis.cumulative_window(group_by=key, order_by=marks["at"])
    marks = marks.select(key, "at", seen=marks.seen.max().over(so_far))
    corrected = occurrences.filter(_.leaves < FAR).select(
        corrected_key=_[key], happened=_.event_us, first="enters", until="leaves"
    )
    patched = (
        points.select(key, "at")
        .inner_join(
            corrected,
            [
                _[key] == corrected.corrected_key,
                _["at"] >= corrected["first"],
                _["at"] < corrected["until"],
            ],
        )
        .group_by([key, "at"])
        .agg(patch=_.happened.max())
    )
    joined = points.left_join(marks, [key, "at"]).drop(f"{key}_right", "at_right")
    joined = joined.left_join(patched, [key, "at"]).drop(f"{key}_right", "at_right")
    return joined.mutate(
        **{column: ibis.greatest(_.seen.fill_null(-1), _.patch.fill_null(-1)).nullif(-1)}
    ).drop("seen", "patch")


def newest_description(raw: ibis.Table, key: str) -> ibis.Table:
    """The versions of a description with ``at``, from when each is the one that counts."""
    entered = raw.mutate(at=ibis.greatest(_.event_us, _.created_us))
    so_far = ibis.cumulative_window(group_by=key, order_by=[entered["at"], entered.created_us])
    marked = entered.mutate(newest=entered.created_us.max().over(so_far))
    kept = marked.filter(_.created_us == _.newest)
    rank = ibis.row_number().over(group_by=[key, "at"], order_by=_.created_us.desc())
    return kept.mutate(place=rank).filter(_.place == 0).drop("newest", "place")


def first_description(raw: ibis.Table, key: str) -> ibis.Table:
    """The first version of each description: what never changes in the light of later knowledge."""
    rank = ibis.row_number().over(group_by=key, order_by=[_.created_us, _.event_us])
    return raw.mutate(place=rank).filter(_.place == 0).drop("place")
