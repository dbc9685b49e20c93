"""Landing of a checked batch in the lake: atomic, idempotent, by one writer at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from feature_repo.contract import SCHEMA_VERSION, TABLES, Table, arrow_schema
from feature_repo.files import locked, sync
from feature_repo.lake.delta_tables import append, describe, roll_back, write
from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import QUARANTINE, LakeError, State, TableState

if TYPE_CHECKING:
    import pyarrow as pa


class LakeBusy(LakeError):
    """Another ingest is writing to this lake."""


@dataclass(frozen=True)
class ClassifiedRows:
    """Checked rows of one table, compared with the lake.

    ``new`` and ``conflicting`` are Arrow tables, ``present`` is the number of rows that the lake
    or the batch already has.
    """

    new: "pa.Table"
    present: int
    conflicting: "pa.Table"


@dataclass(frozen=True)
class Landing:
    """A checked batch, ready to be committed.

    ``new`` holds the new rows of each table. ``quarantined`` holds the rows that enter the
    quarantine, ``released`` the ids of the rows that leave it. ``watermark`` is the instant up to
    which the lake is complete with it. ``learned`` is "stated" or "assumed", by table.
    """

    source: str
    watermark: datetime
    new: Mapping[str, "pa.Table"]
    quarantined: "pa.Table"
    released: set[str] = field(default_factory=set)
    learned: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def write_lock(lake: Lake) -> Iterator[None]:
    """Holds the lake's write lock, which the operating system frees if the process is killed.

    Raises LakeBusy at once if another process holds it, LakeError for a path with %, [ or ].
    """
    _refuse_special_characters(lake)
    lake.root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(lake.root / "ingest.lock", wait=False))
        except BlockingIOError:
            raise LakeBusy(
                f"Another ingest is writing to {lake.root}; wait until it has ended and run "
                "this one again."
            ) from None
        yield


def _refuse_special_characters(lake: Lake) -> None:
    special = sorted(set("%[]") & set(str(lake.root.absolute())))
    if special:
        raise LakeError(
            f"The path {lake.root.absolute()} contains {' and '.join(special)}, and Delta tables "
            "cannot be written to such a path; set CLIPWISE_HOME to another folder."
        )


def current_state(lake: Lake) -> State | None:
    """Returns the newest state, or None before the first batch."""
    return lake.state() if lake.numbers() else None


def classify_rows(lake: Lake, state: State | None, name: str, rows: "pa.Table") -> ClassifiedRows:
    """Compares the rows of one table with the lake: new, present or conflicting.

    A row is present if the version before it, in the lake or in the batch, has the same content.
    It conflicts if a row in the lake has the same instant of learning and other content. Any other
    row is new. So a correction is new, and so is a correction back to the content of an earlier
    version.
    """
    table = TABLES[name]
    if state is None or name not in state.tables or rows.num_rows == 0:
        return ClassifiedRows(rows, 0, rows.slice(0, 0))
    # i: incoming rows; e: the version before in the lake; b: the version before in the batch.
    classified = query(
        f"SELECT i.*, CASE WHEN {_is_later('b', 'e')} THEN {_verdict(table, 'b', 'new')} "
        f"WHEN i.created_timestamp = e.created_timestamp THEN {_verdict(table, 'e', 'conflict')} "
        f"ELSE {_verdict(table, 'e', 'new')} END AS verdict FROM incoming i "
        f"ASOF LEFT JOIN ({lake.scan(name, state)}) e "
        f"ON {_same_key(table, 'e')} AND i.created_timestamp >= e.created_timestamp "
        f"ASOF LEFT JOIN incoming b "
        f"ON {_same_key(table, 'b')} AND i.created_timestamp > b.created_timestamp",
        incoming=rows,
    )
    return _by_verdict(table, classified)


def _same_key(table: Table, other: str) -> str:
    return " AND ".join(f"i.{column} = {other}.{column}" for column in table.key)


def _is_later(one: str, than: str) -> str:
    one, than = f"{one}.created_timestamp", f"{than}.created_timestamp"
    return f"coalesce({one} > {than}, {one} IS NOT NULL)"


def _verdict(table: Table, other: str, otherwise: str) -> str:
    """Returns SQL for 'present' if a row has the content of the other one, else ``otherwise``."""
    content = [c for c in table.column_names if c not in (*table.key, "created_timestamp")]
    same = " AND ".join(f"i.{column} IS NOT DISTINCT FROM {other}.{column}" for column in content)
    there = f"{other}.created_timestamp IS NOT NULL"
    return f"CASE WHEN {' AND '.join([there, same])} THEN 'present' ELSE '{otherwise}' END"


def _by_verdict(table: Table, rows: "pa.Table") -> ClassifiedRows:
    import pyarrow.compute as pc

    def pick(verdict: str) -> "pa.Table":
        chosen = rows.filter(pc.equal(rows["verdict"], verdict)).select(table.column_names)
        return chosen.cast(arrow_schema(table))

    present = pc.sum(pc.equal(rows["verdict"], "present")).as_py() or 0
    return ClassifiedRows(pick("new"), present, pick("conflict"))


def commit(lake: Lake, state: State | None, batch: Landing) -> State:
    """Appends the new rows, updates the quarantine and publishes the next state.

    Must be called under ``write_lock``. Returns the same state if nothing changes. No reader sees
    anything before the manifest appears. Rows that a killed ingest left are rolled back here.
    """
    tables = dict(state.tables) if state else {}
    for name, rows in batch.new.items():
        if rows.num_rows:
            learned = batch.learned.get(name, "stated")
            tables[name] = append(lake, tables.get(name), TABLES[name], rows, learned)
    quarantine = _update_quarantine(lake, tables.get(QUARANTINE), batch)
    if quarantine is not None:
        tables[QUARANTINE] = quarantine
    watermark = max(batch.watermark, state.watermark) if state else batch.watermark
    if state and tables == dict(state.tables) and watermark == state.watermark:
        return state
    number = state.number + 1 if state else 1
    following = State(number, watermark, SCHEMA_VERSION, batch.source, tables)
    _publish(lake, following)
    return following


def _publish(lake: Lake, state: State) -> None:
    target = lake.state_path(state.number)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    draft.write_text(state.to_json())
    sync([draft])
    os.replace(draft, target)
    sync([target.parent])


def _update_quarantine(lake: Lake, before: TableState | None, batch: Landing) -> TableState | None:
    """Adds rows that are not in quarantine yet and deletes released ones; None: no such table.

    A released row stays if the batch contains it again.
    """
    import pyarrow as pa

    held, rows = _held_ids(lake, before), batch.quarantined
    incoming = rows["quarantine_id"].to_pylist()
    rows = rows.filter(pa.array([one not in held for one in incoming], pa.bool_()))
    leaving = (batch.released & held) - set(incoming)
    if not rows.num_rows and not leaving:
        return before
    roll_back(lake, QUARANTINE, before)
    if leaving:
        listed = ", ".join(f"'{one}'" for one in sorted(leaving))
        lake.table(QUARANTINE).delete(f"quarantine_id IN ({listed})")
    if rows.num_rows:
        write(lake, QUARANTINE, rows)
    return describe(lake, QUARANTINE, tuple(rows.schema.names))


def _held_ids(lake: Lake, before: TableState | None) -> set[str]:
    if before is None or not before.rows:
        return set()
    files = lake.added(QUARANTINE, before.version)["path"].to_pylist()
    return set(query(f"SELECT quarantine_id FROM {parquet(files)}")["quarantine_id"].to_pylist())
