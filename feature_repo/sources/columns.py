"""The columns of a file: the origin of each contract column, and values in the contract's spelling.

Columns of the contract that a file lacks are null, if they may be.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.contract import Table
from feature_repo.sources import SourceError
from feature_repo.sources.casting import ColumnPlan
from feature_repo.sources.spellings import nulls

if TYPE_CHECKING:
    import pyarrow as pa


def plan_columns(
    table: Table, path: Path, raw: "pa.Table", mapping: Mapping[str, Any]
) -> ColumnPlan:
    """Chooses the origin of each contract column: a column of the file, a constant, or null.

    Raises SourceError for a column that is missing, or is in the file more than once.
    """
    options = mapping.get(table.name, {})
    constants, renamed = options.get("constants", {}), options.get("columns", {})
    origin = {}
    for column in table.columns:
        if column.name in constants:
            continue
        name = renamed.get(column.name, column.name)
        if raw.column_names.count(name) > 1:
            raise SourceError(f"{path} has the column {name} more than once; keep one of them.")
        if name in raw.column_names:
            origin[column.name] = name
        elif column.name in renamed:
            raise _missing(table, path, f"{name} (mapped to {column.name})", raw)
        elif not column.nullable and column.name != "created_timestamp":
            raise _missing(table, path, column.name, raw)
    return ColumnPlan(
        table, origin, constants, mapping.get("timezone"), mapping.get("money") == "major"
    )


def _missing(table: Table, path: Path, column: str, raw: "pa.Table") -> SourceError:
    return SourceError(
        f"{path}: the table {table.name} needs the column {column}; the file has "
        f"{', '.join(raw.column_names)}. Add it, or map it in mapping.toml."
    )


def respelled(
    plan: ColumnPlan, raw: "pa.Table", mapping: Mapping[str, Any]
) -> "tuple[ColumnPlan, pa.Table, list[str]]":
    """Returns the columns of the plan under contract names, in the contract's spelling.

    The notes name the columns with other spellings. Columns that the mapping lists in ``as_is``
    stay as they are.
    """
    import pyarrow as pa

    rows = pa.table({name: raw[source] for name, source in plan.origin.items()})
    as_is = mapping.get(plan.table.name, {}).get("as_is", ())
    columns = [one for one in plan.table.columns if one.name in plan.origin]
    free = [one for one in columns if one.name not in as_is]
    # A word for null in a number may stand for a limit: without the mapping's word it is refused.
    words = mapping.get("nulls", nulls.WORDS)
    with_words = [one.name for one in free if "nulls" in mapping or one.type == "string"]
    rows, notes = nulls.without_words(rows, with_words, words)
    return replace(plan, origin={name: name for name in plan.origin}), rows, notes
