"""The quarantine: rows that failed a check, each with its rule, its reason and its content."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from feature_repo.contract import TABLES, Table
from validation.findings import ROW
from validation.suite_runner import Failure

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("quarantine_id", "table", "row_id", "row_number", "rule", "reason", "payload")


def quarantine_schema() -> "pa.Schema":
    """Returns the Arrow schema of the quarantine: strings, and the row's number in its source."""
    import pyarrow as pa

    kinds = {"row_number": pa.int64()}
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in COLUMNS])


def failing(table: Table, rows: "pa.Table", failures: Iterable[Failure]) -> "pa.Table":
    """Builds a quarantine row for each row (Arrow, with ``_row`` and findings) that breaks a rule.

    Its rule is the first that it breaks; its reason names all of them.
    """
    broken: dict[int, list[Failure]] = defaultdict(list)
    for failure in failures:
        for number in failure.rows.tolist():
            broken[number].append(failure)
    return _entries(
        table,
        (
            (row[ROW], broken[row[ROW]][0].rule, _reason(table, row, broken[row[ROW]]), row)
            for row in _as_dicts(_only(rows, broken))
        ),
    )


def conflicting(name: str, rows: "pa.Table") -> "pa.Table":
    """Builds quarantine rows for rows of a table that conflict with rows in the lake.

    They have the identity of a row in the lake, so the same instant of learning, and other content.
    ``rows`` is Arrow in contract columns; ``_row``, the row's number in its source, is optional.
    """
    table = TABLES[name]
    same = ", ".join(dict.fromkeys((*table.key, "created_timestamp")))
    sentence = (
        f"breaks conflict: rows with the same {same} must have the same content, but the row in "
        "the lake differs"
    )
    return _entries(
        table,
        (
            (row.get(ROW), "conflict", f"{_title(table, row, row.get(ROW))} {sentence}.", row)
            for row in _as_dicts(rows)
        ),
    )


def rejected(table: Table, rows: "pa.Table") -> "pa.Table":
    """Builds quarantine rows for rows that the adapter could not cast to the contract's types.

    ``rows`` is Arrow with the columns row_number, rule, reason and payload, a JSON object.
    """
    import pyarrow as pa

    seen: Counter[tuple[str, str, str]] = Counter()
    entries = [
        {**row, "table": table.name, "row_id": _row_id(table, _parsed(row["payload"]))}
        for row in rows.select(["row_number", "rule", "reason", "payload"]).to_pylist()
    ]
    return pa.Table.from_pylist([_with_id(entry, seen) for entry in entries], quarantine_schema())


def _entries(
    table: Table, rows: Iterable[tuple[int | None, str, str, Mapping[str, Any]]]
) -> "pa.Table":
    import pyarrow as pa

    seen: Counter[tuple[str, str, str]] = Counter()
    entries = []
    for number, rule, reason, row in rows:
        content = {column: row[column] for column in table.column_names}
        entry = {
            "table": table.name,
            "row_id": _row_id(table, row),
            "row_number": number,
            "rule": rule,
            "reason": reason,
            "payload": json.dumps(content, ensure_ascii=False),
        }
        entries.append(_with_id(entry, seen))
    return pa.Table.from_pylist(entries, quarantine_schema())


def _with_id(entry: dict[str, Any], seen: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    """Adds an id to the entry: a hash of its content, equal in each ingest of the same row.

    Ids are unique within a batch: rows of equal content without a key also get a number in the
    hash. With a key they would be copies.
    """
    content = (entry["table"], entry["payload"], entry["rule"])
    seen[content] += 1
    text = json.dumps([*content, seen[content]], ensure_ascii=False)
    return {"quarantine_id": hashlib.sha256(text.encode()).hexdigest()[:32], **entry}


def _only(rows: "pa.Table", numbers: Iterable[int]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows[ROW], value_set=pa.array(list(numbers), pa.int64())))


def _as_dicts(rows: "pa.Table") -> list[dict[str, Any]]:
    """Converts rows to dicts with instants as ISO text; Python cannot represent all instants."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for position, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.replace_substring(rows[field.name].cast(pa.string()), " ", "T")
            rows = rows.set_column(position, field.name, text)
    return rows.to_pylist()


def _reason(table: Table, row: Mapping[str, Any], broken: list[Failure]) -> str:
    shown = {name: _shown(value) for name, value in row.items()}
    parts = [f"{failure.rule}: {failure.sentence.format_map(shown)}" for failure in broken]
    return f"{_title(table, row, row[ROW])} breaks {'; and '.join(parts)}."


def _title(table: Table, row: Mapping[str, Any], number: int | None) -> str:
    """Names a row by its table, its number in the source, and its key."""
    numbered = "row" if number is None else f"row {number}"
    return f"{table.name} {numbered} ({_row_id(table, row)})"


def _shown(value: object, longest: int = 60) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def _row_id(table: Table, row: Mapping[str, Any]) -> str:
    """Joins the key by colons, with null for a missing value."""
    return ":".join("null" if row.get(name) is None else str(row[name]) for name in table.key)


def _parsed(payload: str | None) -> Mapping[str, Any]:
    """Parses the payload of a rejected row; empty if it is not a JSON object."""
    try:
        content = json.loads(payload or "{}")
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
