"""The audit log: every change of an alias champion, one JSON line each, in an append-only file.

One file has the changes of all registered models.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from feature_repo.files import locked, sync
from serving.errors import AuditFailed, translated

PROMOTE, FORCED, ROLLBACK = "promote", "forced", "rollback"
OUTSIDE = "outside clipwise"
NOT_RECORDED = "not recorded: the alias was set outside Clipwise, for example in the MLflow UI"


class Aliases(Protocol):
    """The alias champion of one registered model, which the log is compared with."""

    def champion_version(self) -> str | None:
        """Returns the version of the alias champion, or None. Raises ModelError."""

    def promotion_reason(self, version: str) -> str | None:
        """Returns the version's tag promotion_reason, or None. Raises ModelError."""


@dataclass(frozen=True)
class Change:
    """A change of a model's alias from ``previous`` to ``version``; None is for no champion.

    ``at`` is the time of the change, None if Clipwise did not make it. ``seen_at`` is the time of
    the record. ``how`` is promote, forced, rollback or outside clipwise.
    """

    model: str
    at: datetime | None
    actor: str
    previous: str | None
    version: str | None
    reason: str | None
    how: str
    seen_at: datetime

    def json_line(self) -> str:
        """Returns the change as one line of JSON; times are ISO 8601 in UTC."""
        record = {
            "model": self.model,
            "at": self.at and self.at.isoformat(),
            "actor": self.actor,
            "from": self.previous,
            "to": self.version,
            "reason": self.reason,
            "how": self.how,
            "seen_at": self.seen_at.isoformat(),
        }
        return json.dumps(record) + "\n"


class AuditLog:
    """The audit log of a state folder. Also records changes made outside Clipwise.

    ``aliases`` has the alias champion of each registered model, by the model's name. ``now``
    returns the time in UTC. A lock on the file lets one thread or process write at a time.
    """

    def __init__(
        self, home: Path, aliases: Mapping[str, Aliases], now: Callable[[], datetime]
    ) -> None:
        self._file = home / "audit" / "champion.jsonl"
        self._aliases = aliases
        self._now = now

    def changes(self) -> list[Change]:
        """Returns all changes, oldest first, without incomplete lines. Raises AuditFailed."""
        with translated(OSError, self._failure):
            lines = self._file.read_bytes().split(b"\n") if self._file.exists() else []
        return [change for change in map(_parse, lines) if change is not None]

    def check(self) -> None:
        """Records the changes of aliases that are not in the log yet.

        Raises ModelError and AuditFailed.
        """
        changes = self.changes()
        for model, alias in self._aliases.items():
            if alias.champion_version() != _last_version(changes, model):
                with self._locked_file() as file:
                    self._record_outside_change(file, model)

    @contextmanager
    def record_change(
        self, model: str, version: str, actor: str, reason: str, how: str
    ) -> Iterator[None]:
        """Records that the block makes a version the champion; records nothing if it raises.

        The block runs under the log's lock, so that no check records its change as one made
        outside. Raises ModelError and AuditFailed before the block, so that no change is made
        without a record.
        """
        with self._locked_file() as file:
            before = self._record_outside_change(file, model)
            yield
            at = self._now()
            self._append(file, Change(model, at, actor, before, version, reason, how, at))

    def _record_outside_change(self, file: int, model: str) -> str | None:
        """Returns the champion's version, recorded if it is not the model's last one in the log."""
        alias = self._aliases[model]
        # Read the alias under the lock: without it another writer may be changing the alias.
        version, recorded = alias.champion_version(), _last_version(self.changes(), model)
        if version != recorded:
            reason = None if version is None else alias.promotion_reason(version)
            change = Change(
                model, None, NOT_RECORDED, recorded, version, reason, OUTSIDE, self._now()
            )
            self._append(file, change)
        return version

    def _append(self, file: int, change: Change) -> None:
        with translated(OSError, self._failure):
            # A line that a crash cut off stays unchanged, and is ended first.
            os.write(file, _missing_line_break(file) + change.json_line().encode())
            sync([self._file])

    @contextmanager
    def _locked_file(self) -> Iterator[int]:
        """Opens the file for appending under an exclusive lock; yields its descriptor."""
        with ExitStack() as stack:
            with translated(OSError, self._failure):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(locked(self._file, mode=0o644))
            yield file

    def _failure(self, error: OSError) -> AuditFailed:
        return AuditFailed(
            f"The audit log {self._file} could not be used ({error.strerror}); make it writable."
        )


def previous_champion(changes: Sequence[Change], model: str) -> str | None:
    """Returns the version of a model to roll back to: its champion before the present one, or None.

    A rollback drops the versions that it left, so that the next one goes one step further back.
    """
    champions: list[str | None] = []
    for change in _of_model(changes, model):
        if change.how == ROLLBACK and change.version in champions:
            while champions[-1] != change.version:
                champions.pop()
        else:
            champions.append(change.version)
    present = champions[-1] if champions else None
    others = (version for version in reversed(champions) if version not in (None, present))
    return next(others, None)


def _last_version(changes: Sequence[Change], model: str) -> str | None:
    of_model = _of_model(changes, model)
    return of_model[-1].version if of_model else None


def _of_model(changes: Sequence[Change], model: str) -> list[Change]:
    return [change for change in changes if change.model == model]


def _parse(line: bytes) -> Change | None:
    """Parses a line; returns None for one that a crash cut off."""
    try:
        record = json.loads(line)
        at, seen = record["at"], datetime.fromisoformat(record["seen_at"])
        return Change(
            record["model"],
            at and datetime.fromisoformat(at),
            record["actor"],
            record["from"],
            record["to"],
            record["reason"],
            record["how"],
            seen,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _missing_line_break(file: int) -> bytes:
    """Returns a line break if the file is not empty and does not end with one."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
