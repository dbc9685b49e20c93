"""Differences between the features of two stores, and their short readable form.

Works on plain values, whatever stores they come from. Integers, texts and lists must be exactly
equal, floats to 1e-9 relative.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_repo.instants import from_microseconds

RELATIVE = 1e-9
"""The relative tolerance for floats."""

ENTRIES = 4
"""The largest number of list entries that are written out."""

Column = tuple[str, str]
"""A feature: its view and its name."""


@dataclass(frozen=True)
class FeatureRows:
    """Features of several entities, read from one store: one value for each column and entity.

    ``exists`` has True for an entity of the store. False means that it should exist but does not.
    None means that it has no row in these views, which may be correct.
    """

    exists: Sequence[bool | None]
    values: Mapping[Column, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A feature of an entity with different values on the left and on the right.

    An entity that exists on one side only is one difference, with an empty view and the feature
    "known". ``labels`` are the ids to which the entries of two lists belong, if the view has them.
    """

    kind: str
    id: str
    view: str
    feature: str
    left: Any
    right: Any
    labels: tuple[Sequence[Any], Sequence[Any]] | None = None


@dataclass(frozen=True)
class ViewSummary:
    """Counts of the entities of one view that differ, in total and for each feature.

    ``features`` has the most frequent feature first. ``one_sided`` counts the entities that exist
    on one side only; they are part of ``entities``, but not of ``features``.
    """

    view: str
    entities: int
    features: Mapping[str, int]
    one_sided: int


def sample_ids(
    ids: Iterable[str], count: int, seed: int, first: Collection[str] = frozenset()
) -> list[str]:
    """Samples up to ``count`` ids, those of ``first`` before all others, and sorts them.

    The choice is by a hash of seed and id, so it does not depend on the order of the ids.

    >>> sample_ids(["a", "b", "c"], 2, seed=0) == sample_ids(["c", "b", "a"], 2, seed=0)
    True
    """

    def place(one: str) -> tuple[bool, bytes]:
        digest = hashlib.md5(f"{seed}:{one}".encode(), usedforsecurity=False).digest()
        return one not in first, digest

    return sorted(sorted(set(ids), key=place)[:count])


def find_differences(
    kind: str, ids: Sequence[str], left: FeatureRows, right: FeatureRows
) -> list[Difference]:
    """Compares the features of entities of one kind, one entity after the other."""
    found = []
    for row, one in enumerate(ids):
        exists = left.exists[row], right.exists[row]
        here = list(_of_entity(kind, one, row, left.values, right.values))
        if bool(exists[0]) != bool(exists[1]) and (here or None not in exists):
            here = [Difference(kind, one, "", "known", bool(exists[0]), bool(exists[1]))]
        found += here
    return found


def _of_entity(
    kind: str,
    one: str,
    row: int,
    left: Mapping[Column, Sequence[Any]],
    right: Mapping[Column, Sequence[Any]],
) -> Iterator[Difference]:
    for column in left:
        pair = left[column][row], right[column][row]
        if not equal(*pair):
            ids = _label_column(column, left)
            labels = (left[ids][row], right[ids][row]) if ids else None
            yield Difference(kind, one, *column, *pair, labels)


def equal(left: Any, right: Any) -> bool:
    """True if two values are equal: lists entry by entry, floats to 1e-9 relative.

    >>> equal([0.1, 0.2], [0.1, 0.2 + 1e-16]), equal(0, None)
    (True, False)
    """
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, float) and isinstance(right, float):
        both_absent = math.isnan(left) and math.isnan(right)
        return both_absent or math.isclose(left, right, rel_tol=RELATIVE)
    return bool(left == right)


def _label_column(column: Column, columns: Iterable[Column]) -> Column | None:
    """Finds the column with the ids of a list's entries, by its name.

    For example history_product_ids belongs to history_product_counts.
    """
    view, feature = column
    stems = {one: one[1].removesuffix("ids") for one in columns if one[1].endswith("_ids")}
    fits = (one for one, stem in stems.items() if one[0] == view and feature.startswith(stem))
    return next((one for one in fits if one != column), None)


def summarize_views(found: Iterable[Difference], kinds: Mapping[str, str]) -> Iterator[ViewSummary]:
    """Summarizes the differences of every view; ``kinds`` maps each view to its kind of entity.

    An entity that exists on one side only differs in all views of its kind.
    """
    found = list(found)
    for view, kind in kinds.items():
        here = [one for one in found if one.kind == kind and one.view in ("", view)]
        counts = Counter(one.feature for one in here if one.view)
        one_sided = sum(not one.view for one in here)
        entities = len({one.id for one in here})
        yield ViewSummary(view, entities, dict(counts.most_common()), one_sided)


def limit_evenly(found: Sequence[Difference], limit: int) -> list[Difference]:
    """Returns up to ``limit`` differences in their order, with an equal share for every view."""
    seen: Counter[str] = Counter()
    turns = []
    for one in found:
        turns.append(seen[one.view])
        seen[one.view] += 1
    chosen = sorted(range(len(found)), key=turns.__getitem__)[:limit]
    return [found[place] for place in sorted(chosen)]


def readable_values(one: Difference) -> tuple[str, str]:
    """Formats both values of a difference; of two lists, only the entries that differ."""
    left, right = one.left, one.right
    if not (isinstance(left, list) and isinstance(right, list)):
        return _values(left, right, one.feature)
    if one.labels and all(isinstance(ids, list) for ids in one.labels):
        named = _by_name(one.labels[0], left), _by_name(one.labels[1], right)
        return _entries(*named, one.feature)
    texts = all(isinstance(value, str) for value in (*left, *right))
    if texts and Counter(left) != Counter(right):
        return _one_sided(left, right), _one_sided(right, left)
    return _entries(_by_name(_places(left), left), _by_name(_places(right), right), one.feature)


def _by_name(names: Iterable[str], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(names, values, strict=False))


def _places(values: Sequence[Any]) -> Iterator[str]:
    return (f"#{place}" for place in range(1, len(values) + 1))


def _values(left: Any, right: Any, feature: str) -> tuple[str, str]:
    """Formats two single values; floats get as many digits as needed to see the difference."""
    for digits in (6, 9, 12, 17):
        texts = _text(left, feature, digits), _text(right, feature, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _text(value: Any, feature: str, digits: int) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"{len(value):,} entries"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, int) and value and feature.endswith(("_timestamp", "_timestamps")):
        return from_microseconds(value).replace(tzinfo=None).isoformat(" ")
    return str(value)


def _one_sided(here: Sequence[str], there: Sequence[str]) -> str:
    """Formats a list of texts as its length and the entries that the other list does not have."""
    own = list((Counter(here) - Counter(there)).elements())
    return f"{len(here):,} entries" + (f", only here: {_shortened(own)}" if own else "")


def _entries(left: Mapping[str, Any], right: Mapping[str, Any], feature: str) -> tuple[str, str]:
    """Formats the entries that differ, by name, on both sides in the same order."""
    names = [
        name
        for name in dict.fromkeys((*left, *right))
        if name not in left or name not in right or not equal(left[name], right[name])
    ]
    if not names:
        return "the same entries", "in another order"
    pairs = [_values(left.get(name), right.get(name), feature) for name in names]
    named = zip(names, pairs, strict=True)
    texts = [(f"{name}: {here}", f"{name}: {there}") for name, (here, there) in named]
    return _shortened([text[0] for text in texts]), _shortened([text[1] for text in texts])


def _shortened(texts: Sequence[str]) -> str:
    more = len(texts) - ENTRIES
    return ", ".join(texts[:ENTRIES]) + (f" and {more:,} more" if more > 0 else "")
