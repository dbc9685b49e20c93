"""The rows of a lake view that go online: all newest ones, or those that differ from before."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.lake.reader import Lake
from feature_repo.offline.query import Query, newest_of_ties
from feature_repo.online.format.progress_mark import Target
from feature_repo.publication.publish import FORMAT, published
from feature_repo.publication.queries import ASSEMBLED

GONE = "_gone"
"""A column that says of a key that it has no row any more."""


@dataclass(frozen=True)
class Columns:
    """A view's columns, by their names in the source: what each is called in the view."""

    keys: dict[str, str]
    features: dict[str, str]
    instants: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Every column once: keys, features, instants."""
        return self.keys | self.features | self.instants


def target_of(
    config: RepoConfig, lake: Lake, number: int, until: datetime, columns: Columns, kinds: Sequence
) -> Target:
    """What a view is to be online: a state of the lake, an instant and a layout.

    Feast's contract (``strict: false``) has the end within, which is the instant after it here.
    """
    strict = config.offline_store.strict
    layout = [FORMAT, columns.all, list(map(str, kinds)), config.entity_key_serialization_version]
    return Target(
        version=number,
        digest=digest_of(lake, number),
        until=until if strict else until + timedelta(microseconds=1),
        layout=hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16],
    )


def digest_of(lake: Lake, number: int) -> str:
    """Of the manifest of a state, empty where the lake has no such state."""
    path = lake.state_path(number)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def published_folder(lake: Lake, number: int) -> Path:
    """Where the change rows of a state are, if they still are."""
    return lake.home / "features" / f"{number:06d}-format-{FORMAT}"


def stage(
    query: Query,
    lake: Lake,
    source: FileSource,
    columns: Columns,
    target: Target,
    base: Target | None,
) -> int:
    """Find the rows that are not online yet, given what is (None: nothing); gives how many.

    In a later state of the lake any row may be another one, so both states are compared. In the
    same state only keys with a change between the two instants are.
    """
    later = replace(query, folder=published(lake, lake.state(target.version)))
    same = base is not None and base.version == target.version
    _newest(later, source, columns, "new", target.until, base.until if same else None)
    rows = f"SELECT *, false AS {GONE} FROM new"
    if base is not None and not same:
        before = replace(query, folder=published_folder(lake, base.version))
        _newest(before, source, columns, "old", base.until, None)
        keys = ", ".join(_quoted(columns.keys.values()))
        rows = (
            f"SELECT *, false AS {GONE} FROM (FROM new EXCEPT FROM old) UNION ALL BY NAME "
            f"SELECT {keys}, true AS {GONE} FROM old ANTI JOIN new USING ({keys})"
        )
    query.connection.execute(f"CREATE TEMP TABLE changed AS {rows}")
    [(count,)] = query.connection.execute("SELECT count(*) FROM changed").fetchall()
    return count


def batches(
    query: Query, columns: Columns, cursor: tuple | None, size: int
) -> Iterator[pa.RecordBatch]:
    """The rows that were staged, behind a key, in the order of the keys and ``size`` at a time."""
    keys = ", ".join(_quoted(columns.keys.values()))
    behind = f"WHERE row({keys}) > row({', '.join('?' * len(cursor))}) " if cursor else ""
    sql = f"SELECT * FROM changed {behind}ORDER BY {keys}"
    yield from query.connection.sql(sql, params=list(cursor or ())).to_arrow_reader(size)


def staged_keys(query: Query, columns: Columns, size: int) -> Iterator[pa.RecordBatch]:
    """The keys of all rows that were staged, ``size`` at a time."""
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
    """A temporary table with the newest row of every key in ``[since, until)``."""
    make, rows = query.connection.execute, query.rows(source)
    happened, keys = _quoted(columns.instants)[0], ", ".join(_quoted(columns.keys))
    bounds = [("<", until), (">=", since)]
    within = " AND ".join(
        f"{happened} {sign} TIMESTAMPTZ '{at.isoformat()}'" for sign, at in bounds if at
    )
    make(
        f"CREATE OR REPLACE TEMP TABLE newest AS SELECT {keys}, max({happened}) AS {happened} "
        f"FROM {rows} WHERE {within} GROUP BY {keys}"
    )
    view = query.view(source)
    if view in ASSEMBLED:
        wanted = f'SELECT user_id, epoch_us({happened}) AS "at" FROM newest'
        found = query.assembled(view, wanted, name)
    else:
        key = ", ".join(f"f.{one}" for one in _quoted(columns.keys))
        ties = newest_of_ties(key, source, list(columns.features))
        found = f"(SELECT f.* FROM {rows} f JOIN newest USING ({keys}, {happened}){ties})"
    picked = ", ".join(f'"{old}" AS "{new}"' for old, new in columns.all.items())
    make(f"CREATE TEMP TABLE {name} AS SELECT {picked} FROM {found}")


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]
