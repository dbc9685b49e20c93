"""Landing a checked batch in the lake: whole, once, by one writer at a time."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from feature_repo.contract import SCHEMA_VERSION, TABLES, Table, arrow_schema
from feature_repo.lake import (
    QUARANTINE,
    Lake,
    LakeError,
    State,
    TableState,
    connect,
    parquet,
    query,
)

log = logging.getLogger(__name__)


class LakeBusy(LakeError):
    """Another ingest is writing to this lake."""


@dataclass(frozen=True)
class Sorted:
    """Checked rows of one table, sorted by what the lake already holds."""

    new: object
    present: int
    conflicting: object


@contextmanager
def writing(lake: Lake) -> Iterator[None]:
    """Hold the lake's write lock, which the system frees even if the process is killed.

    Raises LakeBusy at once if another process holds it.
    """
    lake.root.mkdir(parents=True, exist_ok=True)
    with open(lake.root / "ingest.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeBusy(
                f"Another ingest is writing to {lake.root}; wait until it has ended and run "
                "this one again."
            ) from None
        yield


def current(lake: Lake) -> State | None:
    """The current state, or None before the first batch."""
    return lake.state() if lake.numbers() else None


def sort_rows(lake: Lake, state: State | None, name: str, rows) -> Sorted:
    """Sort the rows of one table into new ones, those already present, and conflicting ones.

    A row is present if the newest version learned no later than itself has the same content. It
    conflicts if that version was learned at the same instant with other content. Anything else,
    a correction included, is new.
    """
    table = TABLES[name]
    if state is None or name not in state.tables or rows.num_rows == 0:
        return Sorted(rows, 0, rows.slice(0, 0))
    content = [c for c in table.column_names if c not in (*table.key, "created_timestamp")]
    same = " AND ".join(f"i.{c} IS NOT DISTINCT FROM e.{c}" for c in content)
    keys = " AND ".join(f"i.{c} = e.{c}" for c in table.key)
    sorted_rows = query(
        f"SELECT i.*, CASE WHEN e.{table.key[0]} IS NULL THEN 'new' WHEN {same} THEN 'present' "
        "WHEN i.created_timestamp = e.created_timestamp THEN 'conflict' ELSE 'new' END AS verdict "
        f"FROM incoming i ASOF LEFT JOIN ({lake.scan(name, state)}) e "
        f"ON {keys} AND i.created_timestamp >= e.created_timestamp",
        incoming=rows,
    )
    return _by_verdict(table, sorted_rows)


def _by_verdict(table: Table, rows) -> Sorted:
    import pyarrow.compute as pc

    def pick(verdict: str):
        chosen = rows.filter(pc.equal(rows["verdict"], verdict)).select(table.column_names)
        return chosen.cast(arrow_schema(table))

    present = pc.sum(pc.equal(rows["verdict"], "present")).as_py() or 0
    return Sorted(pick("new"), present, pick("conflict"))


def commit(
    lake: Lake,
    state: State | None,
    new: Mapping[str, object],
    quarantine,
    released: set[str],
    *,
    source: str,
    watermark: datetime,
    learned: Mapping[str, str],
) -> State:
    """Append the new rows, update the quarantine and publish the next state.

    ``quarantine`` holds the rows now in quarantine in addition, ``released`` the ids of those that
    left it. Must be called while ``writing``. If nothing changes, the state stays as it is. Until
    the manifest appears nothing is visible, and what a killed run left behind is undone here.
    """
    tables = dict(state.tables) if state else {}
    for name, rows in new.items():
        if rows.num_rows:
            tables[name] = _append(lake, tables.get(name), TABLES[name], rows)
        if name in tables:
            tables[name] = replace(tables[name], learned=learned.get(name, tables[name].learned))
    held = _update_quarantine(lake, tables.get(QUARANTINE), quarantine, released)
    if held is not None:
        tables[QUARANTINE] = held
    watermark = max(watermark, state.watermark) if state else watermark
    if state and tables == dict(state.tables) and watermark == state.watermark:
        return state
    number = state.number + 1 if state else 1
    following = State(number, watermark, SCHEMA_VERSION, source, tables)
    _publish(lake, following)
    return following


def _publish(lake: Lake, state: State) -> None:
    target = lake.state_path(state.number)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    with open(draft, "w") as file:
        file.write(state.to_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, target)
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _rewind(lake: Lake, name: str, before: TableState | None) -> None:
    """Undo what an ingest that did not finish left in a table."""
    from deltalake import DeltaTable

    path = lake.table_path(name)
    if before is None:
        shutil.rmtree(path, ignore_errors=True)
        return
    table = DeltaTable(path)
    if table.version() != before.version:
        log.warning("table %s: undoing an ingest that did not finish", name)
        table.restore(before.version)


def _append(lake: Lake, before: TableState | None, table: Table, rows) -> TableState:
    from deltalake import write_deltalake

    _rewind(lake, table.name, before)
    path = lake.table_path(table.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if table.partitioned:
        rows = _with_month(rows)
    write_deltalake(
        path,
        rows,
        mode="append",
        partition_by=["event_month"] if table.partitioned else None,
    )
    return _describe(lake, table.name, table.column_names)


def _with_month(rows):
    import pyarrow.compute as pc

    months = pc.strftime(rows["event_timestamp"], format="%Y-%m")
    return rows.append_column("event_month", months)


def _describe(lake: Lake, name: str, columns: tuple[str, ...]) -> TableState:
    """The newest version of a table as it goes into the manifest."""
    from deltalake import DeltaTable

    table = DeltaTable(lake.table_path(name))
    files = table.file_uris()
    rows, total, first, last = 0, 0, None, None
    if files:
        time = "event_timestamp" if "event_timestamp" in columns else "NULL::TIMESTAMPTZ"
        listed = ", ".join(columns)
        sql = (
            f"SELECT count(*), sum(md5_number_lower(CAST(row({listed}) AS VARCHAR))::HUGEINT), "
            f"epoch_us(min({time})), epoch_us(max({time})) FROM {parquet(files)}"
        )
        rows, total, first, last = connect().execute(sql).fetchall()[0]
    sizes = table.get_add_actions(flatten=True)
    size = sum(value.as_py() for value in sizes["size_bytes"]) if files else 0
    digest = f"{int(total or 0) % 2**64:016x}"
    return TableState(table.version(), rows, size, digest, _utc(first), _utc(last))


def _utc(microseconds: int | None) -> datetime | None:
    from datetime import UTC, timedelta

    if microseconds is None:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _update_quarantine(
    lake: Lake, before: TableState | None, rows, released: set[str]
) -> TableState | None:
    """Add rows that are not in quarantine yet and drop the released ones; None if none ever were."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import DeltaTable, write_deltalake

    path = lake.table_path(QUARANTINE)
    held = set()
    if before is not None and before.rows:
        files = DeltaTable(path, version=before.version).file_uris()
        ids = query(f"SELECT quarantine_id FROM {parquet(files)}")["quarantine_id"]
        held = set(ids.to_pylist())
    fresh = pc.invert(pc.is_in(rows["quarantine_id"], pa.array(sorted(held), pa.string())))
    rows = rows.filter(fresh)
    gone = released & held
    if not rows.num_rows and not gone:
        return before
    _rewind(lake, QUARANTINE, before)
    if gone:
        listed = ", ".join(f"'{one}'" for one in sorted(gone))
        DeltaTable(path).delete(f"quarantine_id IN ({listed})")
    if rows.num_rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(path, rows, mode="append")
    return _describe(lake, QUARANTINE, tuple(rows.schema.names))
