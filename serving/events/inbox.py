"""The inbox: events that arrive over HTTP, stored durably and each once.

An accepted event survives a crash: it lies in an SQLite file. Feeding it to the lake and to the
online features is a later step; this module only takes in.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from feature_repo.contract import LARGEST
from feature_repo.instants import microseconds
from serving.errors import StorageFailed
from serving.events.redemption_feed import RedemptionSeen
from serving.schemas.event import REDEMPTION, Event, EventReceipt, Rejection

# Clocks of sender and service never agree to the second.
CLOCK_SKEW = timedelta(seconds=60)

_MOST_PLACES = 20
"""Places that the reason of a rejection names: more than an event has fields."""

_CREATE = """
create table if not exists inbox (
    event_id text primary key,
    created_timestamp integer not null,
    content text not null
) without rowid
"""
_INSERT = "insert into inbox values (?, ?, ?) on conflict (event_id) do nothing"
_SELECT = "select content from inbox where event_id = ?"
_REDEMPTIONS = f"""
select content from inbox where json_extract(content, '$.event_type') = '{REDEMPTION}'"""


class Refused(Exception):
    """Why an event is not taken in, as one sentence."""


class Inbox:
    """Stores events in the SQLite file ``path``; the first call makes it.

    ``redeemed`` hears of the redemptions of a batch once they are stored.
    """

    def __init__(
        self, path: Path, redeemed: Callable[[Sequence[RedemptionSeen]], None] = lambda used: None
    ) -> None:
        self._path = path
        self._redeemed = redeemed
        self._lock = threading.Lock()

    def take(self, batch: Sequence[Any], arrived: datetime) -> EventReceipt:
        """Store every sound event of the batch, all in one transaction.

        ``arrived`` is when they became known, and the latest instant (give or take the clocks'
        skew) at which they can have happened. Raises StorageFailed; then nothing was stored.
        """
        try:
            with self._lock, closing(self._connect()) as connection, connection:
                receipt, used = _take(connection, batch, arrived)
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(
                "The events could not be stored and none was taken in; send the batch again later."
            ) from error
        if used:
            self._redeemed(used)
        return receipt

    def redemptions(self) -> list[RedemptionSeen]:
        """All redemptions that came so far. Raises StorageFailed."""
        if not self._path.exists():
            return []
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(_REDEMPTIONS).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(f"The inbox {self._path.name} could not be read.") from error
        return [_used(json.loads(content)) for (content,) in rows]

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(_CREATE)
        return connection


def _take(
    connection: sqlite3.Connection, batch: Sequence[Any], arrived: datetime
) -> tuple[EventReceipt, list[RedemptionSeen]]:
    accepted, rejections, used = 0, [], []
    for position, raw in enumerate(batch):
        try:
            event = checked(raw, arrived)
            accepted += _store(connection, event, arrived)
            if event.event_type == REDEMPTION:
                used.append(_used(json.loads(content_of(event))))
        except Refused as refused:
            rejections.append(Rejection(index=position, event_id=_id_of(raw), reason=str(refused)))
    receipt = EventReceipt(
        accepted=accepted,
        duplicate=len(batch) - accepted - len(rejections),
        rejected=len(rejections),
        rejections=tuple(rejections),
    )
    return receipt, used


def _used(content: Mapping[str, Any]) -> RedemptionSeen:
    """A stored redemption; its event's id is its id in the raw table ``redemptions``."""
    return RedemptionSeen(
        content["event_id"],
        content["user_id"],
        content["coupon_id"],
        content["event_timestamp"],
        content.get("discount_amount"),
    )


def _store(connection: sqlite3.Connection, event: Event, arrived: datetime) -> bool:
    """True if the event is new, False if it was here already. Raises Refused."""
    learned = event.created_timestamp or arrived
    content = content_of(event)
    row = (event.event_id, microseconds(learned), content)
    if connection.execute(_INSERT, row).rowcount:
        return True
    (stored,) = connection.execute(_SELECT, (event.event_id,)).fetchone()
    if stored != content:
        raise Refused("event_id belongs to another event; bring a correction with clipwise ingest")
    return False


def checked(raw: Any, arrived: datetime) -> Event:
    """The event, if it follows the contract and has happened by ``arrived``. Raises Refused."""
    try:
        event = Event.model_validate(raw)
    except ValidationError as error:
        places = islice(error.errors(), _MOST_PLACES)
        raise Refused("; ".join(_sentence(entry) for entry in places)) from error
    if event.event_timestamp - arrived > CLOCK_SKEW:
        raise Refused("event_timestamp lies in the future")
    if event.created_timestamp is not None and event.created_timestamp < event.event_timestamp:
        raise Refused("created_timestamp is before event_timestamp")
    if event.event_type == REDEMPTION:
        return _checked_redemption(event)
    if event.event_type != "search" and event.product_id is None:
        raise Refused("product_id is missing; only a search or a redemption may leave it out")
    if event.coupon_id is not None or event.discount_amount is not None:
        raise Refused("only a redemption has a coupon_id or discount_amount")
    return event


def _checked_redemption(event: Event) -> Event:
    if event.coupon_id is None:
        raise Refused("coupon_id is missing; a redemption must name its coupon")
    if event.discount_amount is not None and event.discount_amount > LARGEST:
        raise Refused(f"discount_amount must be at most {LARGEST}")
    return event


def content_of(event: Event) -> str:
    """An event's fields as canonical JSON, its instant in microseconds: equal if they are equal."""
    fields = event.model_dump(exclude={"created_timestamp"}, exclude_none=True)
    fields["event_timestamp"] = microseconds(event.event_timestamp)
    return json.dumps(fields, sort_keys=True)


def _sentence(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"]) or "event"
    return f"{_plain(place)}: {entry['msg']}"


def _id_of(raw: Any) -> str | None:
    value = raw.get("event_id") if isinstance(raw, dict) else None
    return _plain(value) if isinstance(value, str) else None


def _plain(text: str) -> str:
    """Text that any answer can carry: half characters are escaped, the rest is cut."""
    return text[:256].encode("utf-8", "backslashreplace").decode()
