"""Writes of one Delta table of the lake: append, roll back, describe."""

import logging
import shutil
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, Table
from feature_repo.files import sync
from feature_repo.instants import from_microseconds
from feature_repo.lake.duckdb_files import connect, parquet
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import TableState

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def append(
    lake: Lake, before: TableState | None, table: Table, rows: "pa.Table", learned: str
) -> TableState:
    """Appends rows to a table and returns its state.

    A table stays "assumed" once it has rows whose instant of learning is assumed.
    """
    roll_back(lake, table.name, before)
    if table.partitioned:
        write(lake, table.name, _with_month(rows), ["event_month"])
    else:
        write(lake, table.name, rows)
    if before is not None and before.learned == "assumed":
        learned = "assumed"
    return replace(describe(lake, table.name, table.column_names), learned=learned)


def roll_back(lake: Lake, name: str, before: TableState | None) -> None:
    """Removes from a table the rows of an ingest that did not finish."""
    path = lake.table_path(name)
    if before is None:
        if path.exists():
            shutil.rmtree(path)
        return
    table = lake.table(name)
    if table.version() != before.version:
        log.warning("table %s: rolling back an ingest that did not finish", name)
        table.restore(before.version)


def write(lake: Lake, name: str, rows: "pa.Table", partition_by: list[str] | None = None) -> None:
    """Appends Arrow rows to a table, which is created if missing."""
    from deltalake import write_deltalake

    path = lake.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        path,
        rows,
        mode="append",
        # The contract may have more columns than when the table was made.
        schema_mode="merge",
        partition_by=partition_by,
        # Otherwise Delta deletes versions after a month, and old states could not be read.
        configuration={"delta.enableExpiredLogCleanup": "false"},
    )


def _with_month(rows: "pa.Table") -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    # The zone is UTC. Without it, Arrow does not need the system's time zone database.
    months = pc.strftime(rows["event_timestamp"].cast(pa.timestamp("us")), format="%Y-%m")
    return rows.append_column("event_month", months)


def describe(lake: Lake, name: str, columns: tuple[str, ...]) -> TableState:
    """Returns the newest version of a table for the manifest, once its files are on the disk."""
    import pyarrow.compute as pc

    version, added = lake.table(name).version(), lake.added(name)
    files = added["path"].to_pylist()
    # After a power loss a manifest must not name data that is not on the disk.
    sync([*files, *lake.table_path(name).glob("_delta_log/*")])
    if not files:
        return TableState(version, 0, 0, f"{0:016x}", None, None)
    time = "event_timestamp" if "event_timestamp" in columns else "NULL::TIMESTAMPTZ"
    content = ", ".join(f'"{column}"' for column in columns)
    by_name = name not in TABLES or not TABLES[name].partitioned
    sql = (
        f"SELECT count(*), sum(md5_number_lower(CAST(row({content}) AS VARCHAR))::HUGEINT), "
        f"epoch_us(min({time})), epoch_us(max({time})) FROM {parquet(files, by_name)}"
    )
    rows, total, first, last = connect().execute(sql).fetchall()[0]
    # A sum does not depend on the order of the rows. Unlike xor, it counts repeated rows.
    digest = f"{int(total or 0) % 2**64:016x}"
    size = pc.sum(added["size_bytes"]).as_py()
    return TableState(version, rows, size, digest, _optional(first), _optional(last))


def _optional(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)
