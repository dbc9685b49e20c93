"""Compare and set in SQLite: one transaction a batch, and the exact instants of every row.

Feast's table keeps whole seconds. A second table keeps a row's instants to the microsecond, with
the seconds that they belong to: they count only while Feast's table still has those, because
Feast's own store may have written since.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
from feast.infra.online_stores.sqlite import _quote_id

from feature_repo.online.format.progress_mark import Mark
from feature_repo.online.format.rows import UNKNOWN, OnlineRows, microseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Stamp = tuple[int, int]
"""When a row happened and was learned, in microseconds since 1970, UTC."""

_AT_ONCE = 900
_MARK = b""
"""No entity has this key, so nobody but us reads the row: it goes where the table goes."""


def prepare(connection: sqlite3.Connection) -> None:
    """Let readers read while somebody writes, and writers wait for each other."""
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else writes in between."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def make_stamps(connection: sqlite3.Connection, table: str) -> None:
    """The second table of a view, made where it is not there yet."""
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_stamps(table)} (entity_key BLOB PRIMARY KEY, "
        "event_us INTEGER, created_us INTEGER, event_ts INTEGER, created_ts INTEGER) WITHOUT ROWID"
    )


def drop_stamps(connection: sqlite3.Connection, table: str) -> None:
    connection.execute(f"DROP TABLE IF EXISTS {_stamps(table)}")


def held(connection: sqlite3.Connection, table: str, keys: Sequence[bytes]) -> dict[bytes, Stamp]:
    """When the rows of these keys happened and were learned; a key without a row is left out."""
    found: dict[bytes, Stamp] = {}
    for some, places in _some(keys):
        # The aggregates keep SQLite from turning the seconds into Feast's naive local times.
        rows = connection.execute(
            "SELECT d.entity_key, max(d.event_ts), max(d.created_ts), max(s.event_us), "
            "max(s.created_us), max(s.event_ts), max(s.created_ts) "
            f"FROM {_quote_id(table)} d LEFT JOIN {_stamps(table)} s USING (entity_key) "
            f"WHERE d.entity_key IN ({places}) GROUP BY d.entity_key",
            some,
        )
        for key, event, created, event_us, created_us, *belongs in rows:
            if event is None:
                continue
            exact = [event, created] == belongs
            found[key] = (event_us, created_us) if exact else _whole_seconds(event, created)
    return found


def write(
    connection: sqlite3.Connection,
    table: str,
    rows: OnlineRows,
    bound: datetime | None,
    extra: dict[str, dict[str, list]],
) -> int:
    """Write rows, each unless a newer one is held; gives how many.

    A held row of an event before ``bound`` is replaced in any case. ``extra`` has further columns
    of Feast's table, by feature. Call it inside a transaction.
    """
    chosen = _newest(rows, held(connection, table, rows.keys), _limit(bound))
    _upsert(connection, table, rows, chosen, extra)
    return len(chosen)


def remove(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes], bound: datetime | None
) -> int:
    """Take out the rows of these entities that are of an event before ``bound``."""
    limit = _limit(bound)
    doomed = [key for key, stamp in held(connection, table, keys).items() if stamp[0] < limit]
    for some, places in _some(doomed):
        for name in (_quote_id(table), _stamps(table)):
            connection.execute(f"DELETE FROM {name} WHERE entity_key IN ({places})", some)
    return len(doomed)


def _newest(rows: OnlineRows, held: dict[bytes, Stamp], bound: int | None) -> list[int]:
    """The rows to write, in their order: of each key the newest, unless a newer one is held."""
    best: dict[bytes, Stamp] = {}
    chosen: dict[bytes, int] = {}
    stamps = zip(rows.event.tolist(), rows.learned.tolist(), strict=True)
    for row, (key, stamp) in enumerate(zip(rows.keys, stamps, strict=True)):
        known = best.get(key)
        if known is None:
            known = held.get(key)
            if known is not None and bound is not None and known[0] < bound:
                known = None
        if known is None or stamp >= known:
            best[key], chosen[key] = stamp, row
    return sorted(chosen.values())


def _upsert(
    connection: sqlite3.Connection,
    table: str,
    rows: OnlineRows,
    chosen: Sequence[int],
    extra: dict[str, dict[str, list]],
) -> None:
    """Write the chosen rows: a row a feature in Feast's table, and their instants in ours."""
    seconds = [_picked(_seconds(moments), chosen) for moments in (rows.event, rows.created)]
    keys = _picked(rows.keys, chosen)
    values = (
        _picked(column, chosen)
        for name, encoded in rows.values.items()
        for column in (encoded, rows.texts[name], *(more[name] for more in extra.values()))
    )
    statement = _statement(table, list(rows.values), list(extra))
    connection.executemany(statement, zip(keys, *seconds, *values, strict=True))
    instants = (_picked(moments.tolist(), chosen) for moments in (rows.event, rows.learned))
    connection.executemany(
        f"INSERT OR REPLACE INTO {_stamps(table)} VALUES (?, ?, ?, ?, ?)",
        zip(keys, *instants, *seconds, strict=True),
    )


def _statement(table: str, features: Sequence[str], extra: Sequence[str]) -> str:
    """Writes all features of one entity: a row each, as Feast's own store would write it."""
    own = ["value", "value_text", *extra]
    names = ["entity_key", "feature_name", "event_ts", "created_ts", *own]
    rows = []
    for number, feature in enumerate(features):
        first = 4 + number * len(own)
        places = ", ".join(f"?{place}" for place in range(first, first + len(own)))
        rows.append(f"(?1, {_literal(feature)}, ?2, ?3, {places})")
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
    return (
        f"INSERT INTO {_quote_id(table)} ({', '.join(names)}) VALUES {', '.join(rows)} "
        f"ON CONFLICT (entity_key, feature_name) DO UPDATE SET {updates}"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def stored_keys(connection: sqlite3.Connection, table: str) -> list[bytes]:
    """The keys of all entities that have a row."""
    rows = connection.execute(f"SELECT DISTINCT entity_key FROM {_quote_id(table)}")
    return [key for (key,) in rows if key != _MARK]


def exact_events(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes]
) -> dict[bytes, datetime]:
    """When the rows of these keys happened, to the microsecond where it is known."""
    ours = "SELECT 1 FROM sqlite_master WHERE name = ?"
    if not connection.execute(ours, (f"{table}:stamps",)).fetchall():
        return {}
    stamps = held(connection, table, keys)
    return {key: EPOCH + timedelta(microseconds=stamp[0]) for key, stamp in stamps.items()}


def read_mark(connection: sqlite3.Connection, table: str) -> Mark | None:
    """The mark of the table's materialization."""
    rows = connection.execute(
        f"SELECT value_text FROM {_quote_id(table)} WHERE entity_key = ?", (_MARK,)
    )
    return next((Mark.from_json(text) for (text,) in rows), None)


def put_mark(connection: sqlite3.Connection, table: str, mark: Mark) -> None:
    """Replace the mark; call it inside a transaction."""
    connection.execute(
        f"INSERT OR REPLACE INTO {_quote_id(table)} (entity_key, feature_name, value_text) "
        "VALUES (?, ?, ?)",
        (_MARK, "mark", mark.to_json()),
    )


def _picked(column: Sequence, chosen: Sequence[int]) -> Sequence:
    if len(chosen) == len(column):
        return column
    column = list(column)
    return [column[row] for row in chosen]


def _seconds(moments: np.ndarray) -> list[int | None]:
    """Instants as Feast stores them: seconds of the naive UTC time read as a local one."""
    naive = EPOCH.replace(tzinfo=None)
    return [
        None if us == UNKNOWN else int((naive + timedelta(microseconds=us)).timestamp())
        for us in moments.tolist()
    ]


def _whole_seconds(event: int, created: int | None) -> Stamp:
    """The instants of a row that Feast's own store wrote, read as it would."""
    happened = _microseconds(event)
    return happened, happened if created is None else _microseconds(created)


def _microseconds(stored: int) -> int:
    at = datetime.fromtimestamp(stored).replace(tzinfo=UTC)
    return (at - EPOCH) // timedelta(microseconds=1)


def _limit(bound: datetime | None) -> int | None:
    return None if bound is None else int(microseconds([bound])[0])


def _some(keys: Iterable[bytes]) -> Iterator[tuple[list[bytes], str]]:
    """The keys in parts that one statement takes, with a place for each."""
    keys = list(keys)
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        yield some, ", ".join("?" * len(some))


def _stamps(table: str) -> str:
    return _quote_id(f"{table}:stamps")
