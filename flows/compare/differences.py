"""What differs between two answers for the same entities, and how to say it in few words.

Plain values in, plain values out: who answered (two lake versions, offline and online) does not
matter here. Whole numbers, texts and lists are equal exactly, floats to 1e-9 relative.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

RELATIVE = 1e-9
ENTRIES = 4
"""The most entries of a list that are spelled out."""

Column = tuple[str, str]
"""A feature: its view and its name."""


@dataclass(frozen=True)
class Answer:
    """One side's answer: which entities it knows, and every feature with one value an entity.

    None instead of False: the side has no row of the entity, which may be right.
    """

    known: Sequence[bool | None]
    values: Mapping[Column, Sequence]


@dataclass(frozen=True, slots=True)
class Difference:
    """A feature of an entity with another value on each side.

    An entity that one side alone knows is one difference: no view, the feature "known".
    ``labels`` are the ids to which the entries of two lists belong, where the view has them.
    """

    kind: str
    id: str
    view: str
    feature: str
    left: Any
    right: Any
    labels: tuple[Sequence, Sequence] | None = None


@dataclass(frozen=True)
class Differing:
    """How many entities differ in a view, in how many each feature does, and who is known alone.

    Features come most first; entities that one side alone knows are not counted in them.
    """

    view: str
    entities: int
    features: Mapping[str, int]
    alone: int


def sampled(
    ids: Iterable[str], count: int, seed: int, first: Collection[str] = frozenset()
) -> list[str]:
    """Up to ``count`` of the ids, those of ``first`` before all others.

    The choice is by a hash, so it is the same whenever and in whatever order the ids come.
    """

    def place(one: str) -> tuple[bool, bytes]:
        digest = hashlib.md5(f"{seed}:{one}".encode(), usedforsecurity=False).digest()
        return one not in first, digest

    return sorted(sorted(set(ids), key=place)[:count])


def differences(kind: str, ids: Sequence[str], left: Answer, right: Answer) -> list[Difference]:
    """What differs between two answers for the entities of one kind, entity by entity."""
    found = []
    for row, one in enumerate(ids):
        known = left.known[row], right.known[row]
        here = list(_of_entity(kind, one, row, left.values, right.values))
        if bool(known[0]) != bool(known[1]) and (here or None not in known):
            here = [Difference(kind, one, "", "known", *map(bool, known))]
        found += here
    return found


def _of_entity(
    kind: str, one: str, row: int, left: Mapping[Column, Sequence], right: Mapping[Column, Sequence]
) -> Iterator[Difference]:
    for column in left:
        pair = left[column][row], right[column][row]
        if not equal(*pair):
            beside = _ids_beside(column, left)
            labels = (left[beside][row], right[beside][row]) if beside else None
            yield Difference(kind, one, *column, *pair, labels)


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same: lists entry by entry, floats to 1e-9 relative."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, float) and isinstance(right, float):
        both_absent = math.isnan(left) and math.isnan(right)
        return both_absent or math.isclose(left, right, rel_tol=RELATIVE)
    return left == right


def _ids_beside(column: Column, columns: Iterable[Column]) -> Column | None:
    """The ids that a list runs beside: history_product_ids for history_product_counts."""
    view, feature = column
    stems = {one: one[1].removesuffix("ids") for one in columns if one[1].endswith("_ids")}
    fits = (one for one, stem in stems.items() if one[0] == view and feature.startswith(stem))
    return next((one for one in fits if one != column), None)


def differing(found: Iterable[Difference], views: Mapping[str, str]) -> Iterator[Differing]:
    """A summary of every view, given the kind of entity that each view is of.

    An entity that one side alone knows differs in all views of its kind.
    """
    found = list(found)
    for view, kind in views.items():
        here = [one for one in found if one.kind == kind and one.view in ("", view)]
        counts = Counter(one.feature for one in here if one.view)
        alone = sum(not one.view for one in here)
        yield Differing(view, len({one.id for one in here}), dict(counts.most_common()), alone)


def spread(found: Sequence[Difference], limit: int) -> list[Difference]:
    """Up to ``limit`` differences in their order, with a like share of every view."""
    seen: Counter[str] = Counter()
    turns = []
    for one in found:
        turns.append(seen[one.view])
        seen[one.view] += 1
    chosen = sorted(range(len(found)), key=turns.__getitem__)[:limit]
    return [found[place] for place in sorted(chosen)]


def in_words(one: Difference) -> tuple[str, str]:
    """Both values as people read them; of two lists only the entries that differ."""
    left, right = one.left, one.right
    if not (isinstance(left, list) and isinstance(right, list)):
        return _values(left, right, one.feature)
    if one.labels and all(isinstance(ids, list) for ids in one.labels):
        named = _numbered(one.labels[0], left), _numbered(one.labels[1], right)
        return _entries(*named, one.feature)
    texts = all(isinstance(value, str) for value in (*left, *right))
    if texts and Counter(left) != Counter(right):
        return _own(left, right), _own(right, left)
    return _entries(_numbered(_places(left), left), _numbered(_places(right), right), one.feature)


def _numbered(names: Iterable[str], values: Sequence) -> dict[str, Any]:
    return dict(zip(names, values, strict=False))


def _places(values: Sequence) -> Iterator[str]:
    return (f"#{place}" for place in range(1, len(values) + 1))


def _values(left: Any, right: Any, feature: str) -> tuple[str, str]:
    """Two single values, floats with as many digits as it takes to tell them apart."""
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
        return (datetime(1970, 1, 1) + timedelta(microseconds=value)).isoformat(" ")
    return str(value)


def _own(here: list, there: list) -> str:
    """How long a list of texts is, and what it has that the other has not."""
    own = list((Counter(here) - Counter(there)).elements())
    return f"{len(here):,} entries" + (f", only here: {_shortened(own)}" if own else "")


def _entries(left: Mapping, right: Mapping, feature: str) -> tuple[str, str]:
    """The entries that differ, by name and on both sides in the same order."""
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
