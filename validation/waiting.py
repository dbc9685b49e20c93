"""Rows that wait in quarantine for their parent, and leave it when the parent lands."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, Table, arrow_schema
from feature_repo.lake.duckdb_files import query
from feature_repo.lake.landing import ClassifiedRows
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.sources import Batch
from validation.findings import ROW, ParentIds, identity, known_ids

if TYPE_CHECKING:
    import pyarrow as pa

_RULE = "unknown_parent"


def landed_parents(lake: Lake, state: State | None) -> ParentIds:
    """Reads the ids in the lake that rows of other tables can refer to."""
    if state is None:
        return {}
    wanted = {(p.table, p.parent_column) for table in TABLES.values() for p in table.parents}
    return {
        (name, column): query(f"SELECT DISTINCT {column} FROM ({lake.scan(name, state)})")[column]
        for name, column in wanted
    }


def landable_rows(
    lake: Lake, state: State | None, batch: Batch, landed: ParentIds
) -> "dict[str, pa.Table]":
    """Returns the waiting rows with parents in the lake or the batch, by table.

    Their row numbers follow those of the batch. A version that the batch contains again is left
    out.
    """
    held = lake.quarantine(state) if state else None
    if held is None:
        return {}
    found = {}
    for name, table in TABLES.items():
        payloads = query(
            f"SELECT payload FROM held WHERE \"table\" = '{name}' AND rule = '{_RULE}'", held=held
        )["payload"]
        if len(payloads):
            rows = _not_in_batch(table, _contract_rows(table, payloads.to_pylist()), batch)
            rows = _with_parents(table, rows, batch, landed)
            if rows.num_rows:
                found[name] = _numbered(rows, _last_number(batch, name))
    return found


def _contract_rows(table: Table, payloads: list[str]) -> "pa.Table":
    """Parses quarantined rows into contract columns and types."""
    import pyarrow as pa

    rows = [json.loads(payload) for payload in payloads]
    columns = []
    for field in arrow_schema(table):
        values = [row.get(field.name) for row in rows]
        kind = pa.string() if pa.types.is_timestamp(field.type) else field.type
        columns.append(pa.array(values, kind).cast(field.type))
    return pa.table(columns, names=arrow_schema(table).names)


def _not_in_batch(table: Table, rows: "pa.Table", batch: Batch) -> "pa.Table":
    if table.name not in batch.tables:
        return rows
    keys = identity(table)
    return rows.join(batch.tables[table.name].select(keys), keys=keys, join_type="left anti")


def _with_parents(table: Table, rows: "pa.Table", batch: Batch, landed: ParentIds) -> "pa.Table":
    import pyarrow.compute as pc

    for parent in table.parents:
        parents = batch.tables.get(parent.table)
        known = known_ids(
            landed.get((parent.table, parent.parent_column)),
            None if parents is None else parents[parent.parent_column],
        )
        there = pc.or_(
            pc.is_in(rows[parent.column], value_set=known), pc.is_null(rows[parent.column])
        )
        rows = rows.filter(there)
    return rows


def _last_number(batch: Batch, name: str) -> int:
    import pyarrow.compute as pc

    parts = [batch.tables[name][ROW]] if name in batch.tables else []
    parts += [batch.rejected[name]["row_number"]] if name in batch.rejected else []
    return max((pc.max(part).as_py() or 0 for part in parts), default=0)


def _numbered(rows: "pa.Table", last: int) -> "pa.Table":
    import pyarrow as pa

    numbers = pa.array(range(last + 1, last + 1 + rows.num_rows), pa.int64())
    return rows.append_column(ROW, numbers)


def released_ids(
    lake: Lake, state: State | None, landing: Mapping[str, ClassifiedRows]
) -> set[str]:
    """Returns the ids of quarantined rows that land now, or that a row of the same key replaces.

    A row learned earlier replaces none. A row that waits for its parent has no fault, so a
    correction does not replace it. It leaves the quarantine when the same version lands.
    """
    held = lake.quarantine(state) if state else None
    if held is None:
        return set()
    ids: set[str] = set()
    for name, rows in landing.items():
        gone = query(
            f"SELECT quarantine_id FROM held WHERE \"table\" = '{name}' AND EXISTS "
            f"(FROM landing WHERE row_id = concat_ws(':', {', '.join(TABLES[name].key)}) "
            f"AND CASE WHEN rule = '{_RULE}' THEN created_timestamp = {_LEARNED} "
            f"ELSE coalesce(created_timestamp >= {_LEARNED}, true) END)",
            held=held,
            landing=rows.new,
        )
        ids |= set(gone["quarantine_id"].to_pylist())
    return ids


_LEARNED = "try_cast(json_extract_string(payload, '$.created_timestamp') AS TIMESTAMPTZ)"
