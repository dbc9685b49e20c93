"""Finds the rows of a lake view to write online: all newest rows, or those that changed."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.instants import MICROSECOND
from feature_repo.lake.reader import Lake
from feature_repo.offline.query import Query, newest_of_ties
from feature_repo.online.format.progress_mark import Target
from feature_repo.publication.publish import FORMAT, published, published_folder
from feature_repo.publication.queries import ASSEMBLED

REMOVED = "_removed"
"""Column that is true for a key without a row in the newer state."""


@dataclass(frozen=True)
class Columns:
    """A view's columns: the name in the source, mapped to the name in the view."""

    keys: dict[str, str]
    features: dict[str, str]
    instants: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        """All columns: keys, features, instants."""
        return self.keys | self.features | self.instants


def target_of(
    config: RepoConfig,
    lake: Lake,
    number: int,
    until: datetime,
    columns: Columns,
    kinds: Sequence[Any],
) -> Target:
    """Returns the online target of a view: a state of the lake, an instant and a layout.

    Feast's contract (``strict: false``) includes the end, so the target ends a microsecond later.
    """
    strict = config.offline_store.strict
    layout = [FORMAT, columns.all, list(map(str, kinds)), config.entity_key_serialization_version]
    return Target(
        version=number,
        digest=digest_of(lake, number),
        until=until if strict else until + MICROSECOND,
        layout=hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16],
    )


def digest_of(lake: Lake, number: int) -> str:
    """Returns the digest of a state's manifest; empty if the lake has no such state."""
    path = lake.state_path(number)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def stage(
    query: Query,
    lake: Lake,
    source: FileSource,
    columns: Columns,
    target: Target,
    base: Target | None,
) -> int:
    """Stages the rows that are not online yet in a table; returns their number.

    ``base`` is the online state (None: empty). In a later state of the lake any row may differ, so
    both states are compared. In the same state, only keys that changed between the two instants
    are staged.
    """
    later = replace(query, folder=published(lake, lake.state(target.version)))
    since = base.until if base is not None and base.version == target.version else None
    _newest(later, source, columns, "new", target.until, since)
    rows = f"SELECT *, false AS {REMOVED} FROM new"
    if base is not None and base.version != target.version:
        before = replace(query, folder=published_folder(lake, base.version))
        _newest(before, source, columns, "old", base.until, None)
        keys = ", ".join(_quoted(columns.keys.values()))
        rows = (
            f"SELECT *, false AS {REMOVED} FROM (FROM new EXCEPT FROM old) UNION ALL BY NAME "
            f"SELECT {keys}, true AS {REMOVED} FROM old ANTI JOIN new USING ({keys})"
        )
    query.connection.execute(f"CREATE TEMP TABLE changed AS {rows}")
    [(count,)] = query.connection.execute("SELECT count(*) FROM changed").fetchall()
    return count


def batches(
    query: Query, columns: Columns, cursor: tuple[Any, ...] | None, size: int
) -> Iterator[pa.RecordBatch]:
    """Yields the staged rows after the key ``cursor``, ordered by key, ``size`` at a time."""
    keys = ", ".join(_quoted(columns.keys.values()))
    after = f"WHERE row({keys}) > row({', '.join('?' * len(cursor))}) " if cursor else ""
    sql = f"SELECT * FROM changed {after}ORDER BY {keys}"
    yield from query.connection.sql(sql, params=list(cursor or ())).to_arrow_reader(size)


def staged_keys(query: Query, columns: Columns, size: int) -> Iterator[pa.RecordBatch]:
    """Yields the keys of all staged rows, ``size`` at a time."""
    keys = ", ".join(_quoted(columns.keys.values()))
    yield from query.connection.sql(f"SELECT {keys} FROM changed").to_arrow_reader(size)


def _newest(
    query: Query,
    source: FileSource,
    columns: Columns,
    name: str,
    until: datetime,
    since: datetime | None,
) -> None:
    """Creates a temporary table with the newest row of every key in ``[since, until)``."""
    execute, rows = query.connection.execute, query.rows(source)
    happened, keys = _quoted(columns.instants)[0], ", ".join(_quoted(columns.keys))
    bounds = [("<", until), (">=", since)]
    within = " AND ".join(
        f"{happened} {sign} TIMESTAMPTZ '{at.isoformat()}'" for sign, at in bounds if at
    )
    execute(
        f"CREATE OR REPLACE TEMP TABLE newest AS SELECT {keys}, max({happened}) AS {happened} "
        f"FROM {rows} WHERE {within} GROUP BY {keys}"
    )
    view = query.view_name(source)
    if view in ASSEMBLED:
        requested = f'SELECT user_id, epoch_us({happened}) AS "at" FROM newest'
        found = query.assemble(view, requested, name)
    else:
        key = ", ".join(f"f.{one}" for one in _quoted(columns.keys))
        ties = newest_of_ties(key, source, list(columns.features))
        found = f"(SELECT f.* FROM {rows} f JOIN newest USING ({keys}, {happened}){ties})"
    selected = ", ".join(f'"{old}" AS "{new}"' for old, new in columns.all.items())
    execute(f"CREATE TEMP TABLE {name} AS SELECT {selected} FROM {found}")


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]
