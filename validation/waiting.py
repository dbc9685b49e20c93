"""Rows that wait in quarantine for their parent, and leave it when the parent is there."""

import json
from collections.abc import Mapping

from feature_repo.contract import TABLES, Table, arrow_schema
from feature_repo.lake.duckdb_files import query
from feature_repo.lake.landing import ClassifiedRows
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.sources import Batch
from validation.findings import ROW, identity, known_ids

Landed = Mapping[tuple[str, str], object]

_RULE = "unknown_parent"


def landed_parents(lake: Lake, state: State | None) -> Landed:
    """The ids that have landed, by the table and column that other tables refer to."""
    if state is None:
        return {}
    wanted = {(p.table, p.parent_column) for table in TABLES.values() for p in table.parents}
    return {
        (name, column): query(f"SELECT DISTINCT {column} FROM ({lake.scan(name, state)})")[column]
        for name, column in wanted
    }


def may_land(lake: Lake, state: State | None, batch: Batch, landed: Landed) -> dict[str, object]:
    """Waiting rows whose parents are in the lake or the batch, numbered after the batch's own.

    A version that the batch itself brings again is the batch's.
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
            rows = _without_brought(table, _contract_rows(table, payloads.to_pylist()), batch)
            rows = _with_parents(table, rows, batch, landed)
            if rows.num_rows:
                found[name] = _numbered(rows, _last_number(batch, name))
    return found


def _contract_rows(table: Table, payloads: list[str]):
    """Quarantined rows as they would have landed."""
    import pyarrow as pa

    rows = [json.loads(payload) for payload in payloads]
    columns = []
    for field in arrow_schema(table):
        values = [row[field.name] for row in rows]
        kind = pa.string() if pa.types.is_timestamp(field.type) else field.type
        columns.append(pa.array(values, kind).cast(field.type))
    return pa.table(columns, names=arrow_schema(table).names)


def _without_brought(table: Table, rows, batch: Batch):
    if table.name not in batch.tables:
        return rows
    keys = identity(table)
    return rows.join(batch.tables[table.name].select(keys), keys=keys, join_type="left anti")


def _with_parents(table: Table, rows, batch: Batch, landed: Landed):
    import pyarrow.compute as pc

    for parent in table.parents:
        brought = batch.tables.get(parent.table)
        known = known_ids(
            landed.get((parent.table, parent.parent_column)),
            None if brought is None else brought[parent.parent_column],
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


def _numbered(rows, last: int):
    import pyarrow as pa

    numbers = pa.array(range(last + 1, last + 1 + rows.num_rows), pa.int64())
    return rows.append_column(ROW, numbers)


def released(lake: Lake, state: State | None, landing: Mapping[str, ClassifiedRows]) -> set[str]:
    """The ids of quarantined rows that land now, or that a row of the same key repairs.

    A row that waits for its parent is not wrong, so that a correction of it repairs nothing: it
    leaves when this very version lands.
    """
    held = lake.quarantine(state) if state else None
    if held is None:
        return set()
    ids: set[str] = set()
    for name, rows in landing.items():
        gone = query(
            f"SELECT quarantine_id FROM held WHERE \"table\" = '{name}' AND EXISTS "
            f"(FROM landing WHERE row_id = concat_ws(':', {', '.join(TABLES[name].key)}) "
            f"AND (rule <> '{_RULE}' OR created_timestamp = {_LEARNED}))",
            held=held,
            landing=rows.new,
        )
        ids |= set(gone["quarantine_id"].to_pylist())
    return ids


_LEARNED = "try_cast(json_extract_string(payload, '$.created_timestamp') AS TIMESTAMPTZ)"
