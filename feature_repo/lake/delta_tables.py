"""Writing one Delta table of the lake: add rows, undo what was left behind, describe it."""

import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feature_repo.contract import Table
from feature_repo.lake.duckdb_files import connect, parquet
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import TableState

log = logging.getLogger(__name__)


def append(lake: Lake, before: TableState | None, table: Table, rows, learned: str) -> TableState:
    """The table with new rows; one assumed instant of learning makes all of it "assumed"."""
    rewind(lake, table.name, before)
    if table.partitioned:
        write(lake, table.name, _with_month(rows), ["event_month"])
    else:
        write(lake, table.name, rows)
    if before is not None and before.learned == "assumed":
        learned = "assumed"
    return replace(describe(lake, table.name, table.column_names), learned=learned)


def rewind(lake: Lake, name: str, before: TableState | None) -> None:
    """Undo what an ingest that did not finish left in a table."""
    path = lake.table_path(name)
    if before is None:
        if path.exists():
            shutil.rmtree(path)
        return
    table = lake.table(name)
    if table.version() != before.version:
        log.warning("table %s: undoing an ingest that did not finish", name)
        table.restore(before.version)


def write(lake: Lake, name: str, rows, partition_by: list[str] | None = None) -> None:
    """Add Arrow rows to a table, which is made if it is not there."""
    from deltalake import write_deltalake

    path = lake.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        path,
        rows,
        mode="append",
        partition_by=partition_by,
        # Else Delta forgets versions after a month, and old states could not be read.
        configuration={"delta.enableExpiredLogCleanup": "false"},
    )


def _with_month(rows):
    import pyarrow as pa
    import pyarrow.compute as pc

    # Without its zone, which is UTC, the system's time zone database is not needed.
    months = pc.strftime(rows["event_timestamp"].cast(pa.timestamp("us")), format="%Y-%m")
    return rows.append_column("event_month", months)


def describe(lake: Lake, name: str, columns: tuple[str, ...]) -> TableState:
    """The newest version of a table as it goes into the manifest, with its files on the disk."""
    import pyarrow.compute as pc

    version, added = lake.table(name).version(), lake.added(name)
    files = added["path"].to_pylist()
    # A manifest must not outlive its data when the power fails.
    flush([*files, *lake.table_path(name).glob("_delta_log/*")])
    if not files:
        return TableState(version, 0, 0, f"{0:016x}", None, None)
    time = "event_timestamp" if "event_timestamp" in columns else "NULL::TIMESTAMPTZ"
    content = ", ".join(f'"{column}"' for column in columns)
    sql = (
        f"SELECT count(*), sum(md5_number_lower(CAST(row({content}) AS VARCHAR))::HUGEINT), "
        f"epoch_us(min({time})), epoch_us(max({time})) FROM {parquet(files)}"
    )
    rows, total, first, last = connect().execute(sql).fetchall()[0]
    # A sum does not depend on the order of the rows and, unlike xor, counts repeated ones.
    digest = f"{int(total or 0) % 2**64:016x}"
    size = pc.sum(added["size_bytes"]).as_py()
    return TableState(version, rows, size, digest, _utc(first), _utc(last))


def _utc(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def flush(paths: Iterable[Path | str]) -> None:
    """Wait until files and folders, with the folders they are in, are on the disk."""
    paths = [Path(path) for path in paths]
    for path in {*paths, *(path.parent for path in paths)}:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
