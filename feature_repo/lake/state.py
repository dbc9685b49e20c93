"""Numbered states of the lake, and instants as text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

QUARANTINE = "quarantine"


class LakeError(Exception):
    """The lake cannot answer a request; the message states what to do."""


@dataclass(frozen=True)
class TableState:
    """One table in one state of the lake.

    ``version`` is its Delta version. ``content_hash`` does not depend on the order of the rows.
    ``first`` and ``last`` are its earliest and latest ``event_timestamp``. ``learned`` is "stated",
    or "assumed" if a source did not state when its rows were learned.
    """

    version: int
    rows: int
    bytes: int
    content_hash: str
    first: datetime | None
    last: datetime | None
    learned: str = "stated"


@dataclass(frozen=True)
class State:
    """The lake after one batch; ``watermark`` is its latest complete instant, UTC."""

    number: int
    watermark: datetime
    schema_version: int
    source: str
    tables: Mapping[str, TableState] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the manifest of the state."""
        return json.dumps(asdict(self), indent=1, default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Reads the manifest of a state."""
        raw = json.loads(text)
        tables = {name: _table_state(values) for name, values in raw.pop("tables").items()}
        return cls(**raw | {"watermark": instant(raw["watermark"]), "tables": tables})


def _table_state(raw: dict[str, Any]) -> TableState:
    ends = {end: raw[end] and instant(raw[end]) for end in ("first", "last")}
    return TableState(**raw | ends)


def instant(text: str) -> datetime:
    """Parses ISO 8601 text into an instant in UTC.

    Raises LakeError for text that is not an instant or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LakeError(
            f"Expected an instant such as 2017-12-01T00:00:00Z, got {text!r}."
        ) from None
    if moment.tzinfo is None:
        raise LakeError(
            f"The instant {text!r} names no time zone; write it like 2017-12-01T00:00:00Z or "
            "2017-12-01T00:00:00-05:00."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise LakeError(f"The instant {text!r} does not exist in UTC; choose another.") from None
