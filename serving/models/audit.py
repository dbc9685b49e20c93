"""The audit log: every change of the alias champion, one JSON line each, only ever added to."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from serving.errors import AuditFailed

PROMOTE, FORCED, ROLLBACK = "promote", "forced", "rollback"
OUTSIDE = "outside clipwise"
NOT_RECORDED = "not recorded: the alias was set outside Clipwise, for example in the MLflow UI"


class Aliases(Protocol):
    """What the log compares itself with."""

    def champion_version(self) -> str | None:
        """The version that the alias champion names, or None. Raises ModelError."""

    def promotion_reason(self, version: str) -> str | None:
        """The version's tag promotion_reason, or None. Raises ModelError."""


@dataclass(frozen=True)
class Change:
    """The alias went from ``previous`` to ``version``; None stands for no champion.

    ``at`` is when, None for a change that was only seen later; ``seen_at`` is when it was recorded.
    ``how`` is promote, forced, rollback or outside clipwise.
    """

    at: datetime | None
    actor: str
    previous: str | None
    version: str | None
    reason: str | None
    how: str
    seen_at: datetime

    def line(self) -> str:
        """The change as one line of JSON; times are ISO 8601 in UTC."""
        record = {
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
    """The log of one state folder, which knows the alias and so notices what nobody recorded.

    ``now`` gives the wall clock. Writers, threads and processes alike, wait for each other.
    """

    def __init__(self, home: Path, aliases: Aliases, now: Callable[[], datetime]) -> None:
        self._file = home / "audit" / "champion.jsonl"
        self._aliases = aliases
        self._now = now

    def changes(self) -> list[Change]:
        """All changes, oldest first. A line that a crash tore is left out. Raises AuditFailed."""
        with _failing(self._file):
            lines = self._file.read_bytes().split(b"\n") if self._file.exists() else []
        return [change for change in map(_parsed, lines) if change is not None]

    def look(self) -> None:
        """Record a change of the alias that nobody recorded. Raises ModelError, AuditFailed."""
        if self._aliases.champion_version() != _last(self.changes()):
            with self._held() as file:
                self._catch_up(file)

    @contextmanager
    def change(self, version: str, actor: str, reason: str, how: str) -> Iterator[None]:
        """Record that the block makes a version the champion; nothing if the block raises.

        The log is held meanwhile, so that nobody takes the change for one made outside. Raises
        ModelError and AuditFailed before the block, so that no change is made without a record.
        """
        with self._held() as file:
            before = self._catch_up(file)
            yield
            at = self._now()
            self._append(file, Change(at, actor, before, version, reason, how, at))

    def _catch_up(self, file: int) -> str | None:
        """The present champion, recorded as a foreign change if it is not the last one recorded."""
        # The alias is read under the lock: before it, another writer might still be changing it.
        version, recorded = self._aliases.champion_version(), _last(self.changes())
        if version != recorded:
            reason = None if version is None else self._aliases.promotion_reason(version)
            change = Change(None, NOT_RECORDED, recorded, version, reason, OUTSIDE, self._now())
            self._append(file, change)
        return version

    def _append(self, file: int, change: Change) -> None:
        with _failing(self._file):
            # A line that a crash tore stays as it is, and ends here.
            os.write(file, _line_break(file) + change.line().encode())
            os.fsync(file)

    @contextmanager
    def _held(self) -> Iterator[int]:
        """The file, opened to add to it, and locked until the system sees it closed."""
        with _failing(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def before(changes: list[Change]) -> str | None:
    """The champion before the present one, or None if there was none.

    What a rollback left counts no more, so a second rollback goes one further back.
    """
    held: list[str | None] = []
    for change in changes:
        if change.how == ROLLBACK and change.version in held:
            while held[-1] != change.version:
                held.pop()
        else:
            held.append(change.version)
    present = held[-1] if held else None
    others = (version for version in reversed(held) if version not in (None, present))
    return next(others, None)


def _last(changes: list[Change]) -> str | None:
    return changes[-1].version if changes else None


def _parsed(line: bytes) -> Change | None:
    try:
        record = json.loads(line)
        at, seen = record["at"], datetime.fromisoformat(record["seen_at"])
        return Change(
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


def _line_break(file: int) -> bytes:
    """A line break if the file does not end with one."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""


@contextmanager
def _failing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditFailed(
            f"The audit log {file} could not be used ({error.strerror}); make it writable."
        ) from error
