"""Progress marks of materialization: the online state of a lake view, and the rest of a run.

The mark is stored in the online store itself, beside the rows of its view, and is lost with them.
It names the state of the lake and the instant that the rows belong to. During a run it also has
the key of the last row written.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from click import ClickException

from feature_repo.lake.state import LakeError, instant


class MaterializationRefused(LakeError, ClickException):
    """A materialization that cannot run; the feast command prints it as one sentence."""


@dataclass(frozen=True)
class Target:
    """A view in one state of the lake up to an instant.

    ``digest`` is of the state's manifest, since two lakes can have the same version number.
    ``layout`` is a digest of the view's columns and their encoding.
    """

    version: int
    digest: str
    until: datetime
    layout: str

    def is_older_than(self, other: "Target") -> bool:
        """True if the other target has a later version or a later instant."""
        return self.version < other.version or self.until < other.until


@dataclass(frozen=True)
class ProgressMark:
    """A run towards a target, from the online state before it (``base``; None: from nothing).

    The run may replace stored rows of events before ``bound``. ``cursor`` is the key of the last
    row written; rows are written in the order of their keys.
    """

    run: str
    target: Target
    base: Target | None
    bound: datetime
    cursor: tuple[Any, ...] | None = None
    finished: bool = False

    def to_json(self) -> str:
        """Returns the stored form."""
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> "ProgressMark":
        """Parses the stored form."""
        raw = json.loads(text)
        for name in ("target", "base"):
            raw[name] = raw[name] and Target(**raw[name] | {"until": instant(raw[name]["until"])})
        cursor = raw["cursor"] and tuple(raw["cursor"])
        return cls(**raw | {"bound": instant(raw["bound"]), "cursor": cursor})


TargetCheck = Callable[[Target], bool]


def next_run(
    stored: ProgressMark | None,
    target: Target,
    run: str,
    is_in_lake: TargetCheck,
    is_published: TargetCheck,
) -> ProgressMark | None:
    """Plans the run that brings the target online, from the stored mark; None if it is online.

    ``is_in_lake`` is true for a target whose state is one of this lake. ``is_published`` is true
    if its change rows still exist for a comparison. Raises MaterializationRefused if the online
    store has a later version of the lake, but not up to that instant.
    """
    if stored is None:
        return ProgressMark(run, target, None, target.until)
    everything = ProgressMark(run, target, None, max(target.until, stored.bound))
    if not is_in_lake(stored.target):
        return everything
    complete = stored.target if stored.finished else stored.base
    if complete is not None and target.is_older_than(complete):
        _refuse_if_later(target, complete)
        return None
    if not stored.finished:
        can_resume = target == stored.target and (stored.base is None or is_published(stored.base))
        return replace(stored, run=run) if can_resume else everything
    complete = stored.target
    if target == complete:
        return None
    if target.layout != complete.layout or not is_published(complete):
        return everything
    return ProgressMark(run, target, complete, target.until)


def _refuse_if_later(target: Target, complete: Target) -> None:
    if target.until > complete.until:
        raise MaterializationRefused(
            f"The online store has version {complete.version} of the lake up to "
            f"{complete.until.isoformat()}, so version {target.version} cannot be materialized up "
            f"to {target.until.isoformat()}; use version {complete.version} or a later one."
        )


def superseded(view: str) -> MaterializationRefused:
    """Returns the error of a run whose mark was replaced by another run, or removed."""
    return MaterializationRefused(
        f"Another run took over the materialization of {view}, or its rows were removed; wait for "
        "that run to end and materialize again."
    )
