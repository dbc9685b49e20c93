"""The columns of a file: the origin of each contract column, and values in the contract's spelling.

Columns of the contract that a file lacks are null, if they may be.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.contract import Table
from feature_repo.sources import SourceError
from feature_repo.sources.casting import ColumnPlan
from feature_repo.sources.files.column_names import is_near, same
from feature_repo.sources.spellings import ids, nulls

if TYPE_CHECKING:
    import pyarrow as pa


def plan_columns(
    table: Table, path: Path, raw: "pa.Table", mapping: Mapping[str, Any]
) -> tuple[ColumnPlan, list[str]]:
    """Chooses the origin of each contract column: a column of the file, a constant, or null.

    The notes name columns that were taken though they are spelled otherwise, and those not read.
    Raises SourceError for a column that is missing, or is in the file more than once. Also for one
    that no column reads, though its name is near to one of the contract.
    """
    options = mapping.get(table.name, {})
    constants, renamed = options.get("constants", {}), options.get("columns", {})
    ignored = options.get("ignore", ())
    free = [one for one in raw.column_names if one not in (*renamed.values(), *ignored)]
    origin, notes = {}, []
    for column in table.columns:
        if column.name in constants:
            continue
        name = renamed.get(column.name, column.name)
        if raw.column_names.count(name) > 1:
            raise SourceError(f"{path} has the column {name} more than once; keep one of them.")
        alike = same(name, free) if name not in raw.column_names else []
        if name in raw.column_names and name not in ignored:
            origin[column.name] = name
        elif column.name not in renamed and len(alike) == 1:
            origin[column.name] = alike[0]
            notes.append(f"the column {alike[0]!r} is {column.name}")
        elif column.name in renamed:
            raise _missing(table, path, f"{name} (mapped to {column.name})", raw)
        elif not column.nullable and column.name != "created_timestamp":
            raise _missing(table, path, column.name, raw)
    unread = [one for one in free if one not in origin.values()]
    _refuse_near(table, path, unread, {*origin, *constants})
    if unread:
        notes.append(f"columns not read: {', '.join(unread)}")
    plan = ColumnPlan(
        table,
        origin,
        constants,
        mapping.get("timezone"),
        mapping.get("money") == "major",
        options.get("valid_to_is_last_day", False),
    )
    return plan, notes


def _refuse_near(
    table: Table, path: Path, unread: Collection[str], filled: Collection[str]
) -> None:
    """Raises SourceError if an unread column may be meant for a column that nothing fills."""
    for column in table.columns:
        for name in unread:
            if column.name not in filled and is_near(name, column.name):
                raise SourceError(
                    f"{path}: the column {name!r} looks like {column.name}, which no column "
                    f"fills. In mapping.toml, below [{table.name}], read it as "
                    f"columns = {{ {column.name} = {json.dumps(name)} }} or leave it out by "
                    f"ignore = [{json.dumps(name)}]."
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
    stay as they are. Raises SourceError for ids that lost digits.
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
    for name in [one.name for one in free if one.name.endswith("_id")]:
        try:
            values, had_zero = ids.whole_ids(rows[name], f"{plan.table.name}.{name}")
        except ValueError as error:
            raise SourceError(str(error)) from error
        if had_zero:
            rows = rows.set_column(rows.schema.get_field_index(name), name, values)
            notes.append(f"{name}: whole numbers read without their .0")
    return replace(plan, origin={name: name for name in plan.origin}), rows, notes
