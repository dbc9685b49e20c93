"""The inbox: stores events that arrive over HTTP, durably and each once.

An accepted event survives a crash: it is in an SQLite file. The lake and the online features get it
in a later step, not from this module.
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
from serving.errors import StorageFailed, translated
from serving.events.redemption_feed import RedemptionSeen
from serving.schemas.event import CANCELED, REDEMPTION, Event, EventReceipt, Rejection

CLOCK_SKEW = timedelta(seconds=60)
"""Time that an event may be ahead of the service, as clocks differ."""

_MAX_PLACES = 20
"""Most places in the reason of a rejection: more than an event has fields."""

_CREATE = """
create table if not exists inbox (
    event_id text primary key,
    created_timestamp integer not null,
    content text not null
) without rowid
"""
_DRIVER_ERRORS = (sqlite3.Error, OSError)

_INSERT = "insert into inbox values (?, ?, ?) on conflict (event_id) do nothing"
_SELECT = "select content from inbox where event_id = ?"
_OF_TYPE = "select content from inbox where json_extract(content, '$.event_type') = ?"


class EventRefused(Exception):
    """An invalid event; the message is the reason, as one sentence."""


class Inbox:
    """A store of events in the SQLite file ``path``, which the first call creates.

    ``on_redemptions`` is called with the redemptions of a batch after they are stored, then
    ``on_taken_back`` with the ids of those that it takes back. A redemption without an amount is
    refused if ``needs_amount`` is true of its coupon.
    """

    def __init__(
        self,
        path: Path,
        on_redemptions: Callable[[Sequence[RedemptionSeen]], None] = lambda redemptions: None,
        on_taken_back: Callable[[Sequence[str]], None] = lambda redemption_ids: None,
        needs_amount: Callable[[str], bool] = lambda coupon_id: False,
    ) -> None:
        self._path = path
        self._on_redemptions = on_redemptions
        self._on_taken_back = on_taken_back
        self._needs_amount = needs_amount
        self._lock = threading.Lock()

    def store(self, batch: Sequence[Any], arrived: datetime) -> EventReceipt:
        """Stores every valid event of the batch, all in one transaction.

        ``arrived`` is the instant of arrival. An event may be at most CLOCK_SKEW later. Raises
        StorageFailed; then no event is stored.
        """
        with (
            translated(_DRIVER_ERRORS, _not_stored),
            self._lock,
            closing(self._connect()) as connection,
            connection,
        ):
            receipt, stored = _store_batch(connection, batch, arrived, self._needs_amount)
        redemptions = [_redemption_seen(one) for one in stored if one["event_type"] == REDEMPTION]
        taken_back = [one["redemption_id"] for one in stored if one["event_type"] == CANCELED]
        if redemptions:
            self._on_redemptions(redemptions)
        if taken_back:
            self._on_taken_back(taken_back)
        return receipt

    def redemptions(self) -> list[RedemptionSeen]:
        """Reads all redemptions stored so far. Raises StorageFailed."""
        return [_redemption_seen(one) for one in self._of_type(REDEMPTION)]

    def taken_back(self) -> list[str]:
        """Reads the ids of all redemptions taken back so far. Raises StorageFailed."""
        return [one["redemption_id"] for one in self._of_type(CANCELED)]

    def _of_type(self, event_type: str) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with translated(_DRIVER_ERRORS, self._not_read), closing(self._connect()) as connection:
            rows = connection.execute(_OF_TYPE, (event_type,)).fetchall()
        return [json.loads(content) for (content,) in rows]

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(_CREATE)
        return connection

    def _not_read(self, error: Exception) -> StorageFailed:
        return StorageFailed(
            f"The inbox {self._path.name} could not be read ({error}); it is read again at the "
            "next refresh."
        )


def _not_stored(error: Exception) -> StorageFailed:
    return StorageFailed(
        "The events could not be stored, and none of them was; send the batch again later."
    )


def _store_batch(
    connection: sqlite3.Connection,
    batch: Sequence[Any],
    arrived: datetime,
    needs_amount: Callable[[str], bool],
) -> tuple[EventReceipt, list[dict[str, Any]]]:
    """Stores the valid events; returns the receipt and the content of those about redemptions."""
    accepted, rejections, stored = 0, [], []
    for position, raw in enumerate(batch):
        try:
            event = check(raw, arrived)
            _check_amount(event, needs_amount)
            _check_taken_back(connection, event)
            accepted += _store(connection, event, arrived)
            if event.event_type in (REDEMPTION, CANCELED):
                stored.append(json.loads(canonical_json(event)))
        except EventRefused as refused:
            rejections.append(
                Rejection(index=position, event_id=_event_id(raw), reason=str(refused))
            )
    receipt = EventReceipt(
        accepted=accepted,
        duplicate=len(batch) - accepted - len(rejections),
        rejected=len(rejections),
        rejections=tuple(rejections),
    )
    return receipt, stored


def _redemption_seen(content: Mapping[str, Any]) -> RedemptionSeen:
    """Builds a redemption; its event's id is its id in the raw table ``redemptions``."""
    return RedemptionSeen(
        content["event_id"],
        content["user_id"],
        content["coupon_id"],
        content["event_timestamp"],
        content.get("discount_amount"),
        visitor_id=content.get("visitor_id"),
    )


def _store(connection: sqlite3.Connection, event: Event, arrived: datetime) -> bool:
    """Stores an event; true if it is new, false if it is a duplicate. Raises EventRefused."""
    learned = event.created_timestamp or arrived
    content = canonical_json(event)
    row = (event.event_id, microseconds(learned), content)
    if connection.execute(_INSERT, row).rowcount:
        return True
    (stored,) = connection.execute(_SELECT, (event.event_id,)).fetchone()
    if stored != content:
        raise EventRefused(
            "event_id belongs to another event; correct an event with clipwise ingest, and take a "
            f"redemption back with an event of type {CANCELED} and its redemption_id"
        )
    return False


def check(raw: Any, arrived: datetime) -> Event:
    """Returns the event if it is valid and not later than ``arrived``. Raises EventRefused."""
    try:
        event = Event.model_validate(raw)
    except ValidationError as error:
        places = islice(error.errors(), _MAX_PLACES)
        raise EventRefused("; ".join(_sentence(entry) for entry in places)) from error
    if event.event_timestamp - arrived > CLOCK_SKEW:
        raise EventRefused("event_timestamp is in the future")
    if event.created_timestamp is not None and event.created_timestamp < event.event_timestamp:
        raise EventRefused("created_timestamp is before event_timestamp")
    if event.event_type == REDEMPTION:
        return _check_redemption(event)
    if event.event_type == CANCELED:
        if event.redemption_id is None:
            raise EventRefused("redemption_id is missing; name the redemption to take back")
        return event
    if event.redemption_id is not None:
        raise EventRefused(f"only an event of type {CANCELED} has a redemption_id")
    if event.event_type != "search" and event.product_id is None:
        raise EventRefused("product_id is missing; only a search or a redemption may leave it out")
    if event.coupon_id is not None or event.discount_amount is not None:
        raise EventRefused("only a redemption has a coupon_id or discount_amount")
    return event


def _check_redemption(event: Event) -> Event:
    if event.coupon_id is None:
        raise EventRefused("coupon_id is missing; a redemption must name its coupon")
    if event.discount_amount is not None and event.discount_amount > LARGEST:
        raise EventRefused(f"discount_amount must be at most {LARGEST}")
    if event.redemption_id is not None:
        raise EventRefused("redemption_id must be left out; event_id is the redemption's id")
    return event


def _check_amount(event: Event, needs_amount: Callable[[str], bool]) -> None:
    """Raises EventRefused for a redemption whose cost a budget needs and nothing states."""
    if event.event_type != REDEMPTION or event.discount_amount is not None:
        return
    if event.coupon_id is not None and needs_amount(event.coupon_id):
        raise EventRefused(
            "discount_amount is missing; the coupon takes a percentage without a max_discount off "
            "and has a budget, so state what this redemption cost, in minor units"
        )


def _check_taken_back(connection: sqlite3.Connection, event: Event) -> None:
    """Raises EventRefused if what an event takes back is no redemption, or of another user."""
    if event.event_type != CANCELED:
        return
    found = connection.execute(_SELECT, (event.redemption_id,)).fetchone()
    if found is None:
        return
    content = json.loads(found[0])
    if content["event_type"] != REDEMPTION:
        raise EventRefused(f"redemption_id names a {content['event_type']}, not a redemption")
    if content["user_id"] != event.user_id:
        raise EventRefused("redemption_id names a redemption of another user_id")


def canonical_json(event: Event) -> str:
    """Returns the event as JSON, its instant in microseconds; equal events have equal text."""
    fields = event.model_dump(exclude={"created_timestamp"}, exclude_none=True)
    fields["event_timestamp"] = microseconds(event.event_timestamp)
    return json.dumps(fields, sort_keys=True)


def _sentence(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"]) or "event"
    return f"{_plain(place)}: {entry['msg']}"


def _event_id(raw: Any) -> str | None:
    value = raw.get("event_id") if isinstance(raw, dict) else None
    return _plain(value) if isinstance(value, str) else None


def _plain(text: str) -> str:
    """Returns text that any answer can contain: at most 256 characters, surrogates escaped."""
    return text[:256].encode("utf-8", "backslashreplace").decode()
