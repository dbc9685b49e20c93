"""Compare-and-set in SQLite: one transaction a batch, and the exact instants of every row.

Feast's table keeps whole seconds. A second table keeps a row's instants in microseconds, beside
the seconds in Feast's table. They count only while Feast's table still has those seconds, because
Feast's own store may have written since.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
from feast.feature_view import FeatureView
from feast.infra.online_stores.helpers import compute_table_id
from feast.repo_config import RepoConfig

from feature_repo.instants import EPOCH, MICROSECOND, from_microseconds, microseconds
from feature_repo.online.format.progress_mark import ProgressMark
from feature_repo.online.format.rows import UNKNOWN, OnlineRows

Stamp = tuple[int, int]
"""Instants at which a row happened and was learned, in microseconds since 1970, UTC."""

Columns = Mapping[str, Sequence[Any]]
"""One column of values for each feature."""

_KEYS_PER_STATEMENT = 900
_MARK = b""
"""Key of the progress mark: no entity has it, and dropping the table removes the mark too."""


def table_of(config: RepoConfig, view: FeatureView) -> str:
    """Returns the name of a view's table."""
    is_versioned = config.registry.enable_online_feature_view_versioning
    return compute_table_id(config.project, view, is_versioned)


def quoted(identifier: str) -> str:
    """Returns a SQLite identifier in quotes; quotes inside it are doubled."""
    return '"' + identifier.replace('"', '""') + '"'


def prepare(connection: sqlite3.Connection) -> None:
    """Sets WAL mode, so that readers run beside a writer, and makes writers wait for each other."""
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Runs the block in one transaction that excludes other writers."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def create_stamps(connection: sqlite3.Connection, table: str) -> None:
    """Creates the second table of a view if it does not exist."""
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_stamps(table)} (entity_key BLOB PRIMARY KEY, "
        "event_us INTEGER, created_us INTEGER, event_ts INTEGER, created_ts INTEGER) WITHOUT ROWID"
    )


def drop_stamps(connection: sqlite3.Connection, table: str) -> None:
    """Drops the second table of a view."""
    connection.execute(f"DROP TABLE IF EXISTS {_stamps(table)}")


def stored_stamps(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes]
) -> dict[bytes, Stamp]:
    """Reads the stamps of the rows of these keys; a key without a row is left out."""
    found: dict[bytes, Stamp] = {}
    for some, places in _parts(keys):
        # The aggregates keep SQLite from converting the seconds to Feast's naive local times.
        rows = connection.execute(
            "SELECT d.entity_key, max(d.event_ts), max(d.created_ts), max(s.event_us), "
            "max(s.created_us), max(s.event_ts), max(s.created_ts) "
            f"FROM {quoted(table)} d LEFT JOIN {_stamps(table)} s USING (entity_key) "
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
    optional: Mapping[str, Columns],
) -> int:
    """Writes rows, each unless a newer one is stored; returns the number written.

    A stored row of an event before ``bound`` is replaced in any case. ``optional`` are further
    columns of Feast's table. Call it inside a transaction.
    """
    limit = None if bound is None else microseconds(bound)
    chosen = _newest(rows, stored_stamps(connection, table, rows.keys), limit)
    _upsert(connection, table, rows, chosen, optional)
    return len(chosen)


def remove(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes], bound: datetime
) -> int:
    """Removes rows of these entity keys of events before ``bound``; returns their number."""
    limit = microseconds(bound)
    stamps = stored_stamps(connection, table, keys)
    doomed = [key for key, stamp in stamps.items() if stamp[0] < limit]
    for some, places in _parts(doomed):
        for name in (quoted(table), _stamps(table)):
            connection.execute(f"DELETE FROM {name} WHERE entity_key IN ({places})", some)
    return len(doomed)


def _newest(rows: OnlineRows, stored: Mapping[bytes, Stamp], bound: int | None) -> list[int]:
    """Returns the positions to write: the newest row of each key, unless a newer one is stored."""
    best: dict[bytes, Stamp] = {}
    chosen: dict[bytes, int] = {}
    stamps = zip(rows.event.tolist(), rows.learned.tolist(), strict=True)
    for row, (key, stamp) in enumerate(zip(rows.keys, stamps, strict=True)):
        current = best.get(key)
        if current is None:
            current = stored.get(key)
            if current is not None and bound is not None and current[0] < bound:
                current = None
        if current is None or stamp >= current:
            best[key], chosen[key] = stamp, row
    return sorted(chosen.values())


def _upsert(
    connection: sqlite3.Connection,
    table: str,
    rows: OnlineRows,
    chosen: Sequence[int],
    optional: Mapping[str, Columns],
) -> None:
    """Writes the chosen rows: one row a feature to Feast's table, and their stamps to ours."""
    seconds = [_picked(_seconds(moments), chosen) for moments in (rows.event, rows.created)]
    keys = _picked(rows.keys, chosen)
    values = (
        _picked(column, chosen)
        for name, encoded in rows.values.items()
        for column in (encoded, rows.texts[name], *(more[name] for more in optional.values()))
    )
    statement = _statement(table, list(rows.values), list(optional))
    connection.executemany(statement, zip(keys, *seconds, *values, strict=True))
    instants = (_picked(moments.tolist(), chosen) for moments in (rows.event, rows.learned))
    connection.executemany(
        f"INSERT OR REPLACE INTO {_stamps(table)} VALUES (?, ?, ?, ?, ?)",
        zip(keys, *instants, *seconds, strict=True),
    )


def _statement(table: str, features: Sequence[str], optional: Sequence[str]) -> str:
    """Returns SQL that writes all features of one entity: a row each, as Feast writes it."""
    own = ["value", "value_text", *optional]
    names = ["entity_key", "feature_name", "event_ts", "created_ts", *own]
    rows = []
    for number, feature in enumerate(features):
        first = 4 + number * len(own)
        places = ", ".join(f"?{place}" for place in range(first, first + len(own)))
        rows.append(f"(?1, {_literal(feature)}, ?2, ?3, {places})")
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
    return (
        f"INSERT INTO {quoted(table)} ({', '.join(names)}) VALUES {', '.join(rows)} "
        f"ON CONFLICT (entity_key, feature_name) DO UPDATE SET {updates}"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def stored_keys(connection: sqlite3.Connection, table: str) -> list[bytes]:
    """Reads the keys of all entities that have a row."""
    rows = connection.execute(f"SELECT DISTINCT entity_key FROM {quoted(table)}")
    return [key for (key,) in rows if key != _MARK]


def exact_events(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes]
) -> dict[bytes, datetime]:
    """Reads the instants at which the rows of these keys happened, in microseconds if stored."""
    ours = "SELECT 1 FROM sqlite_master WHERE name = ?"
    if not connection.execute(ours, (f"{table}:stamps",)).fetchall():
        return {}
    stamps = stored_stamps(connection, table, keys)
    return {key: from_microseconds(stamp[0]) for key, stamp in stamps.items()}


def read_mark(connection: sqlite3.Connection, table: str) -> ProgressMark | None:
    """Reads the progress mark of the table's view; None if there is none."""
    rows = connection.execute(
        f"SELECT value_text FROM {quoted(table)} WHERE entity_key = ?", (_MARK,)
    )
    return next((ProgressMark.from_json(text) for (text,) in rows), None)


def put_mark(connection: sqlite3.Connection, table: str, mark: ProgressMark) -> None:
    """Stores the progress mark. Call it inside a transaction."""
    connection.execute(
        f"INSERT OR REPLACE INTO {quoted(table)} (entity_key, feature_name, value_text) "
        "VALUES (?, ?, ?)",
        (_MARK, "mark", mark.to_json()),
    )


def _picked(column: Sequence[Any], chosen: Sequence[int]) -> Sequence[Any]:
    if len(chosen) == len(column):
        return column
    values = list(column)
    return [values[row] for row in chosen]


def _seconds(moments: np.ndarray) -> list[int | None]:
    """Returns instants as Feast stores them: seconds of the naive UTC time read as a local one."""
    naive = EPOCH.replace(tzinfo=None)
    return [
        None if us == UNKNOWN else int((naive + us * MICROSECOND).timestamp())
        for us in moments.tolist()
    ]


def _whole_seconds(event: int, created: int | None) -> Stamp:
    """Returns the stamp of a row that Feast's own store wrote, read as Feast reads it."""
    happened = _from_seconds(event)
    return happened, happened if created is None else _from_seconds(created)


def _from_seconds(stored: int) -> int:
    return microseconds(datetime.fromtimestamp(stored).replace(tzinfo=UTC))


def _parts(keys: Iterable[bytes]) -> Iterator[tuple[list[bytes], str]]:
    """Yields the keys in parts that fit one statement, with their placeholders."""
    all_keys = list(keys)
    for start in range(0, len(all_keys), _KEYS_PER_STATEMENT):
        some = all_keys[start : start + _KEYS_PER_STATEMENT]
        yield some, ", ".join("?" * len(some))


def _stamps(table: str) -> str:
    return quoted(f"{table}:stamps")
