"""Compares the features of two readers for chosen entities, and writes the result as JSON."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flows.compare.differences import Difference, FeatureRows, find_differences, sample_ids
from flows.compare.readers import KINDS, FeatureReader, View
from flows.runtime import report_progress

BATCH = 500
"""Entities that are read in one call."""


class DiffError(Exception):
    """Two stores cannot be compared; the message has the remedy."""


@dataclass(frozen=True)
class Selection:
    """Views and entities to compare.

    Without ``views`` all views are compared. ``named`` lists ids by kind; without any, ``count``
    entities of each kind are sampled by ``seed``. A sample takes the ids in ``first`` (by kind)
    before all others.
    """

    views: Sequence[str] = ()
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)
    count: int = 200
    seed: int = 0
    first: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureDiff:
    """The differences between two readers.

    ``compared`` and ``population`` count entities by kind: those compared, and all of them.
    ``first`` is a phrase about the entities that a sample took before all others, or empty.
    """

    left: str
    right: str
    views: Sequence[View]
    compared: Mapping[str, int]
    population: Mapping[str, int]
    differences: Sequence[Difference]
    first: str = ""

    @property
    def as_of(self) -> list[datetime]:
        """The instants at which views were read: one, unless views are online up to others."""
        return sorted({view.as_of for view in self.views})


def compare(
    left: FeatureReader, right: FeatureReader, views: Sequence[View], selection: Selection
) -> FeatureDiff:
    """Reads the selected entities of every kind from both readers and finds the differences.

    Raises DiffError for a named entity that neither reader has, and for named entities of a kind
    without a selected view.
    """
    compared: dict[str, int] = {}
    population: dict[str, int] = {}
    found: list[Difference] = []
    for kind in KINDS:
        here = [view for view in views if view.kind == kind]
        named = selection.named.get(kind, ())
        if named and not here:
            raise DiffError(f"None of the chosen views is of a {kind}; leave out --{kind}.")
        if here and (named or not any(selection.named.values())):
            everything = set(named) or left.list_ids(kind) | right.list_ids(kind)
            most, first = len(named) or selection.count, selection.first.get(kind, ())
            ids = sample_ids(everything, most, selection.seed, first)
            compared[kind], population[kind] = len(ids), len(everything)
            found += _of_kind(left, right, here, ids)
    shown = [view for kind in compared for view in views if view.kind == kind]
    return FeatureDiff(left.name, right.name, shown, compared, population, found)


def _of_kind(
    left: FeatureReader, right: FeatureReader, views: Sequence[View], ids: Sequence[str]
) -> Iterator[Difference]:
    """Finds the differences between entities of one kind, reading them in batches."""
    kind = views[0].kind
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        rows = []
        for reader in (left, right):
            report_progress(f"{kind}s, {reader.name}", start, len(ids))
            rows.append(reader.read(batch, views))
            report_progress(f"{kind}s, {reader.name}", start + len(batch), len(ids))
        _require_entities(left, right, views, batch, rows)
        yield from find_differences(kind, batch, *rows)


def _require_entities(
    left: FeatureReader,
    right: FeatureReader,
    views: Sequence[View],
    ids: Sequence[str],
    rows: Sequence[FeatureRows],
) -> None:
    """Raises DiffError for an id that neither reader has."""
    for one, *exists in zip(ids, *(one.exists for one in rows), strict=True):
        if not any(exists):
            raise DiffError(
                f"Expected an id of a {views[0].kind}, but neither {left.name} nor {right.name} "
                f"has {one!r} before {max(view.as_of for view in views).isoformat()}. Check the "
                "id."
            )


def write_json(found: FeatureDiff, path: Path) -> None:
    """Writes the differences as JSON into a new file. Raises DiffError if it cannot be made."""
    rows = [
        {name: getattr(one, name) for name in ("kind", "id", "view", "feature", "left", "right")}
        for one in found.differences
    ]
    content = {
        "left": found.left,
        "right": found.right,
        "as_of": {view.name: view.as_of.isoformat() for view in found.views},
        "compared": found.compared,
        "population": found.population,
        "differences": rows,
    }
    try:
        with path.open("x") as file:
            json.dump(content, file)
    except OSError as error:
        raise DiffError(
            f"Expected a new file for the differences, but {path} cannot be made "
            f"({error.strerror}). Name another file."
        ) from error
