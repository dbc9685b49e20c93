"""Landing a checked batch in the lake: whole, once, by one writer at a time."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from feature_repo.contract import SCHEMA_VERSION, TABLES, Table, arrow_schema
from feature_repo.lake.delta_tables import append, describe, flush, rewind, write
from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import QUARANTINE, LakeError, State, TableState


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

    Raises LakeBusy at once if another process holds it, LakeError for a path with %, [ or ].
    """
    _refuse_odd_path(lake)
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


def _refuse_odd_path(lake: Lake) -> None:
    odd = sorted(set("%[]") & set(str(lake.root.absolute())))
    if odd:
        raise LakeError(
            f"The path {lake.root.absolute()} has {' and '.join(odd)} in it, which Delta tables "
            "cannot be written to; set CLIPWISE_HOME to another folder."
        )


def current(lake: Lake) -> State | None:
    """The current state, or None before the first batch."""
    return lake.state() if lake.numbers() else None


def sort_rows(lake: Lake, state: State | None, name: str, rows) -> Sorted:
    """Sort the rows of one table into new ones, those already present, and conflicting ones.

    A row is present if the version before it, landed or in the batch, has the same content. It
    conflicts if one that has landed was learned at the same instant with other content. Anything
    else, a correction included, is new; so is a return to what an earlier version said.
    """
    table = TABLES[name]
    if state is None or name not in state.tables or rows.num_rows == 0:
        return Sorted(rows, 0, rows.slice(0, 0))
    sorted_rows = query(
        f"SELECT i.*, CASE WHEN {_newer('b', 'e')} THEN {_said(table, 'b', 'new')} "
        f"WHEN i.created_timestamp = e.created_timestamp THEN {_said(table, 'e', 'conflict')} "
        f"ELSE {_said(table, 'e', 'new')} END AS verdict FROM incoming i "
        f"ASOF LEFT JOIN ({lake.scan(name, state)}) e "
        f"ON {_same_key(table, 'e')} AND i.created_timestamp >= e.created_timestamp "
        f"ASOF LEFT JOIN incoming b "
        f"ON {_same_key(table, 'b')} AND i.created_timestamp > b.created_timestamp",
        incoming=rows,
    )
    return _by_verdict(table, sorted_rows)


def _same_key(table: Table, other: str) -> str:
    return " AND ".join(f"i.{column} = {other}.{column}" for column in table.key)


def _newer(one: str, than: str) -> str:
    one, than = f"{one}.created_timestamp", f"{than}.created_timestamp"
    return f"coalesce({one} > {than}, {one} IS NOT NULL)"


def _said(table: Table, other: str, otherwise: str) -> str:
    content = [c for c in table.column_names if c not in (*table.key, "created_timestamp")]
    same = " AND ".join(f"i.{column} IS NOT DISTINCT FROM {other}.{column}" for column in content)
    there = f"{other}.created_timestamp IS NOT NULL"
    return f"CASE WHEN {' AND '.join([there, same])} THEN 'present' ELSE '{otherwise}' END"


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
            known = learned.get(name, "stated")
            tables[name] = append(lake, tables.get(name), TABLES[name], rows, known)
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
    draft.write_text(state.to_json())
    flush([draft])
    os.replace(draft, target)
    flush([target.parent])


def _update_quarantine(
    lake: Lake, before: TableState | None, rows, released: set[str]
) -> TableState | None:
    """Add rows that are not in quarantine yet and drop the released ones; None if none ever were.

    A row that is released and brought again stays.
    """
    import pyarrow as pa

    held = _held_ids(lake, before)
    brought = rows["quarantine_id"].to_pylist()
    rows = rows.filter(pa.array([one not in held for one in brought], pa.bool_()))
    gone = (released & held) - set(brought)
    if not rows.num_rows and not gone:
        return before
    rewind(lake, QUARANTINE, before)
    if gone:
        listed = ", ".join(f"'{one}'" for one in sorted(gone))
        lake.table(QUARANTINE).delete(f"quarantine_id IN ({listed})")
    if rows.num_rows:
        write(lake, QUARANTINE, rows)
    return describe(lake, QUARANTINE, tuple(rows.schema.names))


def _held_ids(lake: Lake, before: TableState | None) -> set[str]:
    if before is None or not before.rows:
        return set()
    files = lake.added(QUARANTINE, before.version)["path"].to_pylist()
    return set(query(f"SELECT quarantine_id FROM {parquet(files)}")["quarantine_id"].to_pylist())
