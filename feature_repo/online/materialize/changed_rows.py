"""Finds the rows of a lake view to write online: all newest rows, or those that changed."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.instants import MICROSECOND
from feature_repo.lake.reader import Lake
from feature_repo.offline.query import Query
from feature_repo.offline.source_table import columns_of
from feature_repo.online.format.progress_mark import Target
from feature_repo.publication.publish import FORMAT, published, published_folder
from feature_repo.publication.queries import ASSEMBLED


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

    @property
    def staged(self) -> list[str]:
        """Names of all columns in the staged tables, which no name of a view can be."""
        return [f"c{number}" for number in range(len(self.all))]

    @property
    def staged_keys(self) -> str:
        """SQL for the keys in the staged tables."""
        return ", ".join(self.staged[: len(self.keys)])


class Changed(NamedTuple):
    """A batch of staged rows: the key of the last one, rows to write, and keys to remove."""

    last: tuple[Any, ...]
    present: pa.RecordBatch
    removed: pa.RecordBatch


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
    rows = "SELECT *, false AS removed FROM new"
    if base is not None and base.version != target.version:
        before = replace(query, folder=published_folder(lake, base.version))
        _newest(before, source, columns, "old", base.until, None)
        keys = columns.staged_keys
        rows = (
            "SELECT *, false AS removed FROM (FROM new EXCEPT FROM old) UNION ALL BY NAME "
            f"SELECT {keys}, true AS removed FROM old ANTI JOIN new USING ({keys})"
        )
    query.connection.execute(f"CREATE TEMP TABLE changed AS {rows}")
    [(count,)] = query.connection.execute("SELECT count(*) FROM changed").fetchall()
    return count


def batches(
    query: Query, columns: Columns, cursor: tuple[Any, ...] | None, size: int
) -> Iterator[Changed]:
    """Yields the staged rows after the key ``cursor``, ordered by key, ``size`` at a time."""
    keys = columns.staged_keys
    after = f"WHERE row({keys}) > row({', '.join('?' * len(cursor))}) " if cursor else ""
    sql = f"SELECT {', '.join(columns.staged)}, removed FROM changed {after}ORDER BY {keys}"
    for batch in query.connection.sql(sql, params=list(cursor or ())).to_arrow_reader(size):
        *values, removed = batch.columns
        rows = pa.record_batch(values, names=list(columns.all.values()))
        last = tuple(column[-1].as_py() for column in values[: len(columns.keys)])
        yield Changed(last, rows.filter(pc.invert(removed)), rows.filter(removed))


def staged_keys(query: Query, columns: Columns, size: int) -> Iterator[pa.RecordBatch]:
    """Yields the keys of all staged rows, ``size`` at a time."""
    sql = f"SELECT {columns.staged_keys} FROM changed"
    for batch in query.connection.sql(sql).to_arrow_reader(size):
        yield pa.record_batch(batch.columns, names=list(columns.keys.values()))


def _newest(
    query: Query,
    source: FileSource,
    columns: Columns,
    name: str,
    until: datetime,
    since: datetime | None,
) -> None:
    """Creates a temporary table with the newest row of every key in ``[since, until)``."""
    execute = query.connection.execute
    happened, created = [*columns.instants, None][:2]
    table = query.table(source, str(happened), created)
    key = ", ".join(map(table.column, columns.keys))
    numbered = [f"{table.column(one)} AS k{number}" for number, one in enumerate(columns.keys)]
    bounds = [("<", until), (">=", since)]
    within = " AND ".join(
        f"{table.event} {sign} TIMESTAMPTZ '{at.isoformat()}'" for sign, at in bounds if at
    )
    execute(
        f"CREATE OR REPLACE TEMP TABLE newest AS SELECT {', '.join(numbered)}, "
        f"max({table.event}) AS _event FROM {table.relation} f WHERE {within} GROUP BY {key}"
    )
    view = query.view_name(source)
    if view in ASSEMBLED:
        requested = 'SELECT k0 AS user_id, epoch_us(_event) AS "at" FROM newest'
        assembled = query.assemble(view, requested, name)
        table = replace(table, relation=assembled, columns=columns_of(query.connection, assembled))
        rows = f"{assembled} f"
    else:
        same = [f"{table.column(one)} = m.k{number}" for number, one in enumerate(columns.keys)]
        same.append(f"{table.event} = m._event")
        rows = f"{table.relation} f JOIN newest m ON {' AND '.join(same)}"
        rows += table.newest_of_ties(key, list(columns.features))
    values = (
        table.instant(one) if one in columns.instants else table.column(one) for one in columns.all
    )
    named = ", ".join(f"{v} AS {c}" for v, c in zip(values, columns.staged, strict=True))
    execute(f"CREATE TEMP TABLE {name} AS SELECT {named} FROM {rows}")
