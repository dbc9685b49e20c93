"""Features side by side: two lake versions, or history and what the online store answers."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from feature_repo.publication.publish import published
from flows.compare.differences import Difference, differences, sampled
from flows.compare.sides import KINDS, History, Online, Side, View, touched
from flows.materialize import apply, feature_store, view_names
from flows.runtime import prepare_environment, report_progress

BATCH = 500


class DiffError(Exception):
    """Two answers of the feature store cannot be compared; the message says what to do."""


@dataclass(frozen=True)
class Choice:
    """What is compared: these views, else all; the entities named by kind, else a sample.

    ``first`` are the ids by kind that a sample takes before all others.
    """

    views: Sequence[str] = ()
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)
    count: int = 200
    seed: int = 0
    first: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """Two sides, by kind how many entities were compared out of how many, and what differs.

    ``first`` says which entities a sample took before all others, empty for none.
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
        """The instants that the answers describe: one, unless views are online up to others."""
        return sorted({view.as_of for view in self.views})


def diff(
    left: int | None, right: int | None, as_of: str | None, online: bool, choice: Choice
) -> Compared:
    """Compare two lake versions, or history with the online store, as a person asks for it.

    Raises DiffError for an online comparison with lake versions or an instant, and what the other
    two raise.
    """
    if not online:
        return diff_versions(left, right, as_of, choice)
    if (left, right) != (None, None):
        raise DiffError("Expected --online or --from and --to, got both; leave out one of them.")
    if as_of:
        raise DiffError(
            "The online store answers as of the instant up to which it was materialized; leave "
            "out --as-of."
        )
    return diff_online(choice)


def diff_versions(
    left: int | None, right: int | None, as_of: str | None, choice: Choice
) -> Compared:
    """Compare two lake versions, by default the current one with the one before it.

    Both describe one instant, by default the earlier of their watermarks. A sample first takes
    the entities in rows that one version alone has. Raises LakeError or DiffError for versions,
    instants, views and entities that are not there.
    """
    lake = Lake(prepare_environment())
    states = [lake.state(number) for number in _pair(lake, left, right)]
    earlier = min(states, key=lambda state: state.watermark)
    moment = instant(as_of) if as_of else earlier.watermark
    if moment > earlier.watermark:
        raise DiffError(
            f"Lake version {earlier.number} is complete up to {earlier.watermark.isoformat()}, so "
            f"it cannot be compared as of {moment.isoformat()}; choose an instant no later."
        )
    views = [_view(one, moment) for one in _registered(choice.views)]
    for state in states:
        _publish(lake, state)
    sides = [
        History(f"version {state.number}", feature_store(), lake, state, moment) for state in states
    ]
    first = {kind: touched(lake, *states, kind) for kind in KINDS}
    found = compare(*sides, views, replace(choice, first=first))
    return replace(found, first="beginning with those that have new rows")


def _pair(lake: Lake, left: int | None, right: int | None) -> tuple[int, int]:
    current = lake.state().number
    numbers = lake.numbers()
    if right is None:
        right = current
    if left is None:
        left = max((number for number in numbers if number < right), default=None)
    if left is None:
        raise DiffError(
            f"There is no lake version before {right}; ingest more, name another one with --from, "
            "or compare with --online."
        )
    if left == right:
        raise DiffError(
            f"Expected two lake versions, got {left} twice; the lake has {numbers[0]} to "
            f"{numbers[-1]}."
        )
    return left, right


def diff_online(choice: Choice) -> Compared:
    """Compare what the lake knew with what the online store answers.

    Each view describes the instant up to which it is online. Raises LakeError or DiffError for a
    lake, views and entities that are not there, or not online yet.
    """
    lake = Lake(prepare_environment())
    state = lake.state()
    found = [one for one in _registered(choice.views) if one.online]
    missing = [one.name for one in found if one.most_recent_end_time is None]
    if missing:
        raise DiffError(
            f"Expected features online, but {', '.join(missing)} never got there; run `clipwise "
            "materialize` first."
        )
    views = [_view(one, one.most_recent_end_time) for one in found]
    until = max(view.as_of for view in views)
    if until > state.watermark:
        raise DiffError(
            f"The online store is complete up to {until.isoformat()}, beyond the lake, which ends "
            f"at {state.watermark.isoformat()}; ingest what is missing, or start with a new home."
        )
    _publish(lake, state)
    history = History("offline", feature_store(), lake, state, until)
    return compare(history, Online(feature_store()), views, choice)


def _publish(lake: Lake, state: State) -> None:
    """Build the features of a lake version if they are not there, which takes a while."""
    done = count(1)
    stage, views = f"features of version {state.number}", len(view_names())
    published(lake, state, lambda name: report_progress(stage, next(done), views))


def _registered(names: Sequence[str]) -> list:
    """Feast's feature views of our entities, all or those named; applied if they are not yet."""
    store = feature_store()
    if not {one.name for one in store.list_feature_views()} >= set(view_names()):
        store = apply()
    found = {one.name: one for one in store.list_feature_views() if _kind(one)}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise DiffError(f"There is no view {unknown[0]!r}; there are {', '.join(found)}.")
    return [one for name, one in found.items() if not names or name in names]


def _kind(view: Any) -> str | None:
    kinds = (kind for kind, (key, _table) in KINDS.items() if list(view.join_keys) == [key])
    return next(kinds, None)


def _view(view: Any, as_of: datetime) -> View:
    return View(view.name, _kind(view), tuple(one.name for one in view.features), as_of)


def compare(left: Side, right: Side, views: Sequence[View], choice: Choice) -> Compared:
    """Both sides' answers for the entities of every kind that was chosen, and what differs."""
    compared, population, found = {}, {}, []
    for kind in KINDS:
        here = [view for view in views if view.kind == kind]
        named = choice.named.get(kind, ())
        if named and not here:
            raise DiffError(f"None of the chosen views is of a {kind}; leave out --{kind}.")
        if here and (named or not any(choice.named.values())):
            everyone = set(named) or left.known(kind) | right.known(kind)
            most, first = len(named) or choice.count, choice.first.get(kind, ())
            ids = sampled(everyone, most, choice.seed, first)
            compared[kind], population[kind] = len(ids), len(everyone)
            found += _of_kind(left, right, here, ids)
    shown = [view for kind in compared for view in views if view.kind == kind]
    return Compared(left.name, right.name, shown, compared, population, found)


def _of_kind(
    left: Side, right: Side, views: Sequence[View], ids: Sequence[str]
) -> list[Difference]:
    """What differs between the answers for the entities of one kind, read part by part."""
    kind, found = views[0].kind, []
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        answers = []
        for side in (left, right):
            report_progress(f"{kind}s, {side.name}", start, len(ids))
            answers.append(side.answer(part, views))
            report_progress(f"{kind}s, {side.name}", start + len(part), len(ids))
        for one, *sides in zip(part, *(answer.known for answer in answers), strict=True):
            if not any(sides):
                raise DiffError(
                    f"Neither {left.name} nor {right.name} knows a {kind} {one!r} before "
                    f"{max(view.as_of for view in views).isoformat()}; check the id."
                )
        found += differences(kind, part, *answers)
    return found


def exported(found: Compared, path: Path) -> None:
    """Write the comparison as JSON into a new file. Raises DiffError if it cannot be made."""
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
            f"Expected a new file for the differences, {path} cannot be made ({error.strerror}); "
            "name another one."
        ) from error
