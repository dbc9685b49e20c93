"""The columns of a SELECT, checked against a table of the contract."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from feature_repo.contract import Column, Table
from feature_repo.sources import SourceError
from feature_repo.sources.casting import ColumnPlan

_WHOLE = r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|UHUGEINT)"
_TEXT = r"(VARCHAR|ENUM\(.*\))"
_FLOAT = r"(FLOAT|DOUBLE)"
_LOCAL = r"(TIMESTAMP(_S|_MS|_NS)?|DATE)"

# For each type of the contract: DuckDB's types that fit, and the advice for the others.
_FITTING = {
    "string": (f"{_TEXT}|{_WHOLE}|UUID", "VARCHAR", "CAST it to VARCHAR from the text of the file"),
    "money": (
        f"{_TEXT}|{_WHOLE}|DECIMAL.*",
        "DECIMAL or BIGINT",
        "Money is exact: write CAST(... AS DECIMAL(18, 4)) of the text of the file",
    ),
    "int64": (f"{_TEXT}|{_WHOLE}|DECIMAL.*|{_FLOAT}", "BIGINT", "CAST it to BIGINT"),
    "float64": (f"{_TEXT}|{_WHOLE}|DECIMAL.*|{_FLOAT}", "DOUBLE", "CAST it to DOUBLE"),
    "bool": (f"{_TEXT}|{_WHOLE}|BOOLEAN", "BOOLEAN", "Write a condition, such as flag = 'Y'"),
    "timestamp": (
        f"{_TEXT}|{_LOCAL}|TIMESTAMP WITH TIME ZONE",
        "TIMESTAMPTZ, or TIMESTAMP or DATE in a stated zone",
        "Write make_timestamptz(1000 * ...) for milliseconds since 1970, or strptime(...) for text",
    ),
}


def plan(
    table: Table, kinds: Mapping[str, str], settings: Mapping[str, Any], place: str
) -> tuple[ColumnPlan, str]:
    """Returns the origins of the table's columns, and the select list that reads them.

    ``kinds`` are the SELECT's columns with DuckDB's types. ``settings`` are the variables of the
    file that hold for all tables, in the words of a mapping. Raises SourceError with ``place`` for
    a column that is missing or not of the contract, and for a type that does not fit.
    """
    unknown = [name for name in kinds if name not in table.column_names]
    missing = [
        column.name
        for column in table.columns
        if column.name not in kinds and not column.nullable and column.name != "created_timestamp"
    ]
    if unknown or missing:
        raise SourceError(f"{place} {_misnamed(table, unknown, missing)}")
    wanted = [column for column in table.columns if column.name in kinds]
    for column in wanted:
        _check_type(column, kinds[column.name], settings, place)
    selected = ", ".join(_selected(column, kinds[column.name]) for column in wanted)
    origin = {column.name: column.name for column in wanted}
    in_major = settings.get("money") == "major"
    return ColumnPlan(table, origin, {}, settings.get("timezone"), in_major), selected


def _misnamed(table: Table, unknown: list[str], missing: list[str]) -> str:
    faults = []
    for name in unknown:
        near = difflib.get_close_matches(name.lower(), table.column_names, n=1)
        faults.append(
            f"has the column {name}, which the contract does not have"
            + (f" (near: {near[0]})" if near else "")
        )
    faults += [f"lacks the column {name}, which is needed" for name in missing]
    advice = f"the columns of {table.name} are {', '.join(table.column_names)}"
    return f"{'; '.join(faults)}; {advice}. Name the columns with AS, and leave out the others."


def _check_type(column: Column, kind: str, settings: Mapping[str, Any], place: str) -> None:
    kind = kind.upper()
    if kind == '"NULL"':
        return
    is_money = column.unit is not None
    fitting, expected, advice = _FITTING["money" if is_money else column.type]
    if not re.fullmatch(fitting, kind):
        raise SourceError(f"{place} has {column.name} as {kind}, expected {expected}. {advice}.")
    if is_money and "money" not in settings and not re.fullmatch(_WHOLE, kind):
        raise SourceError(
            f"{place} has {column.name} as {kind}, but the unit of money is not stated. Write "
            "SET VARIABLE money = 'major'; at the top for amounts such as 3.50, or 'minor' for 350."
        )
    if column.type == "timestamp" and "timezone" not in settings and re.fullmatch(_LOCAL, kind):
        raise SourceError(
            f"{place} has {column.name} as {kind}, which names no zone. Write "
            "SET VARIABLE timezone = 'Europe/Paris'; at the top, or timezone('UTC', ...) here."
        )


def _selected(column: Column, kind: str) -> str:
    """Returns a column of the select list; numbers that are not 64 bits stay exact as text."""
    kind = kind.upper()
    as_text = column.type == "string" or re.match(r"DECIMAL|U?HUGEINT|UBIGINT", kind)
    if as_text and kind != '"NULL"':
        return f"CAST({column.name} AS VARCHAR) AS {column.name}"
    return column.name
