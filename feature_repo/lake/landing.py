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
    already has.
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

    A row is present if the lake has its version, of the same key and instant of learning, with the
    same content; with other content it conflicts. Any other row is new. So is a version that
    repeats the one before it: a version between the two may arrive later.
    """
    table = TABLES[name]
    if state is None or name not in state.tables or rows.num_rows == 0:
        return ClassifiedRows(rows, 0, rows.slice(0, 0))
    same_version = " AND ".join(f"i.{c} = e.{c}" for c in (*table.key, "created_timestamp"))
    same_content = " AND ".join(f"i.{c} IS NOT DISTINCT FROM e.{c}" for c in table.column_names)
    # i: incoming rows; e: rows in the lake.
    classified = query(
        "SELECT i.*, CASE WHEN e.created_timestamp IS NULL THEN 'new' "
        f"WHEN {same_content} THEN 'present' ELSE 'conflict' END AS verdict FROM incoming i "
        f"LEFT JOIN ({lake.scan(name, state)}) e ON {same_version}",
        incoming=rows,
    )
    return _by_verdict(table, classified)


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
