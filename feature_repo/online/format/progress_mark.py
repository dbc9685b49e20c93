"""The mark of a materialization: what of a lake view is online, and what a run has still to do.

The mark lies in the online store itself, beside the rows of its view, and is lost with them. It
says which state of the lake the rows are of and up to which instant, and, while a run is under
way, which row it wrote last.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from click import ClickException

from feature_repo.lake.state import LakeError, instant


class MaterializationRefused(LakeError, ClickException):
    """A materialization that cannot be done; the feast command prints it as one sentence."""


@dataclass(frozen=True)
class Target:
    """A view in one state of the lake up to an instant.

    ``digest`` is of the state's manifest, since two lakes may count the same; ``layout`` is of
    the view's columns and how they are encoded.
    """

    version: int
    digest: str
    until: datetime
    layout: str

    def is_older_than(self, other: "Target") -> bool:
        return self.version < other.version or self.until < other.until


@dataclass(frozen=True)
class Mark:
    """A run towards a target, from what was online before (None: from nothing).

    A held row of an event before ``bound`` is the run's to replace. ``cursor`` is the key of the
    last row written, in the order of the keys.
    """

    run: str
    target: Target
    base: Target | None
    bound: datetime
    cursor: tuple | None = None
    finished: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> "Mark":
        raw = json.loads(text)
        for name in ("target", "base"):
            raw[name] = raw[name] and Target(**raw[name] | {"until": instant(raw[name]["until"])})
        cursor = raw["cursor"] and tuple(raw["cursor"])
        return cls(**raw | {"bound": instant(raw["bound"]), "cursor": cursor})


Check = Callable[[Target], bool]


def next_run(
    held: Mark | None, target: Target, run: str, in_lake: Check, is_published: Check
) -> Mark | None:
    """How a run brings the target online, given the mark that is held; None: nothing is to do.

    ``in_lake`` says whether a target's state is one of this lake, ``is_published`` whether its
    change rows are still there to compare with. Raises MaterializationRefused where the online
    store has a later version of the lake, but not up to that instant.
    """
    if held is None:
        return Mark(run, target, None, target.until)
    everything = Mark(run, target, None, max(target.until, held.bound))
    if not in_lake(held.target):
        return everything
    complete = held.target if held.finished else held.base
    if complete is not None and target.is_older_than(complete):
        _refuse_if_later(target, complete)
        return None
    if not held.finished:
        same = target == held.target and (held.base is None or is_published(held.base))
        return replace(held, run=run) if same else everything
    if target == complete:
        return None
    if target.layout != complete.layout or not is_published(complete):
        return everything
    return Mark(run, target, complete, target.until)


def _refuse_if_later(target: Target, complete: Target) -> None:
    if target.until > complete.until:
        raise MaterializationRefused(
            f"The online store has version {complete.version} of the lake up to "
            f"{complete.until.isoformat()}, so version {target.version} cannot be materialized up "
            f"to {target.until.isoformat()}; use version {complete.version} or a later one."
        )


def taken_over(view: str) -> MaterializationRefused:
    """What a run says that finds another one at work, or its own mark gone."""
    return MaterializationRefused(
        f"Another run took over the materialization of {view}, or its rows were removed; wait for "
        "that run to end and materialize again."
    )
