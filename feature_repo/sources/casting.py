"""Casts of a file's columns to the contract's types; rows that do not fit are kept apart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feature_repo.contract import Column, Table, arrow_schema
from feature_repo.lake.duckdb_files import connect, literal
from feature_repo.sources import SourceError
from feature_repo.sources.local_times import (
    create_macros,
    end_of_day,
    instant_of_day,
    instant_of_time,
)
from feature_repo.sources.spellings import nulls

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_DAY = r"\s*\d{4}-\d{1,2}-\d{1,2}"
_CLOCK = r"[ T]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_NAIVE = rf"{_DAY}({_CLOCK})?\s*"
_ZONED = rf"{_DAY}{_CLOCK}\s?(UTC|GMT|[Zz]|[+-]\d{{2}}(:?\d{{2}})?)\s*"

# For each type of the contract, the column types in a file that can be cast to it.
_CASTABLE = {
    "string": ("string", "int", "uint"),
    "int64": ("string", "int", "uint", "float", "double", "halffloat", "decimal"),
    "float64": ("string", "int", "uint", "float", "double", "halffloat", "decimal"),
    "bool": ("string", "int", "uint", "bool"),
    "timestamp": ("string", "timestamp", "date"),
}
_WORDS = {
    "string": "text",
    "int64": "a whole number",
    "float64": "a number",
    "bool": "true or false",
    "timestamp": "an instant with its zone, such as 2017-12-01T00:00:00Z",
}
_SQL = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}


@dataclass(frozen=True)
class ColumnPlan:
    """The origin of each contract column of a file, its time zone and its unit of money.

    ``origin`` maps contract columns to columns of the file, and ``constants`` other contract
    columns to a value. ``timezone`` is the zone of times without one. With
    ``valid_to_is_last_day`` a local midnight in valid_to stands for the whole day that begins then.
    """

    table: Table
    origin: Mapping[str, str]
    constants: Mapping[str, object]
    timezone: str | None
    money_in_major_units: bool
    valid_to_is_last_day: bool = False

    @property
    def assumes_learned(self) -> bool:
        """True if the file does not state when its rows were learned."""
        return "created_timestamp" not in {*self.origin, *self.constants}


def contract_rows(plan: ColumnPlan, raw: "pa.Table") -> "tuple[pa.Table, pa.Table]":
    """Returns the rows in the contract's types with ``_row``, and the rows that do not fit.

    Raises SourceError as ``cast`` does.
    """
    import pyarrow as pa

    good, bad = cast(connect(), plan, raw)
    schema = arrow_schema(plan.table)
    # Only types are checked here; validation refuses nulls, row by row.
    columns = [good[field.name].cast(field.type) for field in schema] + [good["_row"]]
    return pa.table(columns, names=[*schema.names, "_row"]), bad


def cast(
    connection: "duckdb.DuckDBPyConnection", plan: ColumnPlan, raw: "pa.Table"
) -> "tuple[pa.Table, pa.Table]":
    """Splits an Arrow table into the rows that fit the contract, with ``_row``, and the others.

    The second table has the columns row_number, rule, reason and payload. The payload is the row
    as JSON in contract columns: cast values where they fit, the file's values where they do not.
    Instants are truncated to microseconds. A naive time that occurs twice when daylight saving
    ends is the later one. Raises SourceError for a column or constant whose type cannot be cast.
    """
    create_macros(connection)
    _register(connection, plan, raw)
    kinds = {column: str(raw.schema.field(name).type) for column, name in plan.origin.items()}
    values = {c.name: _value(plan, c, kinds) for c in plan.table.columns}
    _check_constants(connection, plan)
    selected = ", ".join(f"{value} AS {name}" for name, value in values.items())
    connection.execute(f"CREATE VIEW valued AS SELECT {selected}, _row, source FROM origin")
    misfits = [f"(source.{c} IS NOT NULL AND {c} IS NULL)" for c in plan.origin]
    misfit = " OR ".join(misfits) or "false"
    # A row without an instant of learning was learned when it happened, or was taken back.
    happened = ", ".join(filter(None, ("event_timestamp", plan.table.ends)))
    learned = f"coalesce(created_timestamp, greatest({happened})) AS created_timestamp"
    good = (
        f"SELECT * EXCLUDE (source) REPLACE ({learned}) FROM valued WHERE NOT ({misfit}) "
        "ORDER BY _row"
    )
    bad = _rejected(plan) + f" FROM valued WHERE {misfit} ORDER BY _row"
    return connection.sql(good).to_arrow_table(), connection.sql(bad).to_arrow_table()


def _register(connection: "duckdb.DuckDBPyConnection", plan: ColumnPlan, raw: "pa.Table") -> None:
    """Creates a view of the file under contract names, which are safe in SQL, with row numbers."""
    import pyarrow as pa

    columns = {name: _plain(raw[source]) for name, source in plan.origin.items()}
    columns["_row"] = pa.array(range(1, raw.num_rows + 1), pa.int64())
    connection.register("plain", pa.table(columns))
    packed = ", ".join(f"{name} := {name}" for name in columns)
    connection.execute(
        f"CREATE VIEW origin AS SELECT struct_pack({packed}) AS source, _row FROM plain"
    )


def _plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Decodes a dictionary column, and truncates instants to microseconds."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _check_constants(connection: "duckdb.DuckDBPyConnection", plan: ColumnPlan) -> None:
    for name, constant in plan.constants.items():
        alone = _value(replace(plan, origin={}), plan.table.column(name), {})
        if connection.execute(f"SELECT {alone} IS NULL").fetchall()[0][0]:
            expected = _expected(plan, plan.table.column(name))
            raise SourceError(
                f"mapping.toml: the constant {plan.table.name}.{name} should be {expected}, "
                f"got {constant!r}."
            )


def _rejected(plan: ColumnPlan) -> str:
    """Returns the start of the query for the rows that do not fit: rule, reason and payload."""
    sentences, zoneless, content = [], [], []
    for column in plan.table.columns:
        name = column.name
        if name not in plan.origin:
            content.append(f"'{name}', {_shown(column)}")
            continue
        raw = f"source.{name}"
        misfit = f"{raw} IS NOT NULL AND {name} IS NULL"
        wanted = literal(f"{name} should be {_expected(plan, column)}, got '")
        hint = _hint(f"CAST({raw} AS VARCHAR)")
        sentences.append(f"CASE WHEN {misfit} THEN {wanted} || {raw} || '''' || {hint} END")
        content.append(
            f"'{name}', CASE WHEN {misfit} THEN to_json({raw}) ELSE to_json({_shown(column)}) END"
        )
        if column.type == "timestamp":
            naive = f"regexp_full_match(CAST({raw} AS VARCHAR), '{_NAIVE}')"
            parses = f"TRY_CAST({raw} AS TIMESTAMP) IS NOT NULL"
            zoneless.append(f"({misfit} AND {naive} AND {parses})")
    title = literal(f"{plan.table.name} row ")
    return f"""
        SELECT _row AS row_number,
            CASE WHEN {" OR ".join(zoneless) or "false"} THEN 'time_zone' ELSE 'type' END AS rule,
            {title} || _row || ': ' || concat_ws('; ', {", ".join(sentences)}) || '.' AS reason,
            CAST(json_object({", ".join(content)}) AS VARCHAR) AS payload"""


def _hint(text: str) -> str:
    """Returns SQL for the line of mapping.toml that may settle a value that does not fit, or ''."""
    words = ", ".join(map(literal, nulls.WORDS))
    return (
        f"CASE WHEN trim({text}) IN ({words}) THEN ' (if it means no value, set nulls = [\"' "
        f"|| trim({text}) || '\"] in mapping.toml)' ELSE '' END"
    )


def _shown(column: Column) -> str:
    if column.type == "timestamp":
        return f"strftime({column.name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return column.name


def _expected(plan: ColumnPlan, column: Column) -> str:
    if column.unit == "cents" and plan.money_in_major_units:
        return "an amount such as 3.50"
    if column.type == "timestamp" and plan.timezone is not None:
        return f"an instant, or a local time that exists in {plan.timezone}"
    return _WORDS[column.type]


def _value(plan: ColumnPlan, column: Column, kinds: Mapping[str, str]) -> str:
    """Returns SQL for the column's value in its type; null where it does not fit."""
    if column.name in plan.constants:
        return _typed(plan, column, literal(plan.constants[column.name]), "string")
    if column.name in plan.origin:
        return _typed(plan, column, f"source.{column.name}", kinds[column.name])
    if column.name == "created_timestamp":
        happened = _value(plan, plan.table.column("event_timestamp"), kinds)
        if plan.table.ends is None:
            return happened
        # A row that was taken back is a correction, learned when that happened.
        return f"greatest({happened}, {_value(plan, plan.table.column(plan.table.ends), kinds)})"
    return f"CAST(NULL AS {_SQL.get(column.type, 'TIMESTAMPTZ')})"


def _typed(plan: ColumnPlan, column: Column, raw: str, kind: str) -> str:
    kind = _value_kind(kind)
    if kind == "null":
        return f"CAST(NULL AS {_SQL.get(column.type, 'TIMESTAMPTZ')})"
    if not kind.startswith(_CASTABLE[column.type]):
        raise SourceError(
            f"{plan.table.name}.{column.name} should be {_WORDS[column.type]}, but its column "
            f"in the file has the type {kind}; write it in another type."
        )
    if column.type == "timestamp":
        found = _instant(plan, column, raw, kind)
        is_last = plan.valid_to_is_last_day and column.name == "valid_to"
        return end_of_day(plan.timezone or "UTC", found) if is_last else found
    if column.type == "int64":
        return _whole(plan, column, raw, kind)
    if column.type == "bool":
        return f"TRY_CAST(CAST({raw} AS VARCHAR) AS BOOLEAN)"
    return f"TRY_CAST({raw} AS {_SQL[column.type]})"


def _value_kind(kind: str) -> str:
    """Returns the Arrow type of the values, without its dictionary or string layout."""
    if kind.startswith("dictionary<values="):
        kind = kind.removeprefix("dictionary<values=").split(", indices=")[0]
    return {"large_string": "string", "string_view": "string"}.get(kind, kind)


def _whole(plan: ColumnPlan, column: Column, raw: str, kind: str) -> str:
    """Returns SQL for a whole number in the column's unit; text that is not exact does not fit."""
    scale = "1"
    if plan.money_in_major_units and column.unit == "cents":
        scale = "100"
    elif plan.money_in_major_units and column.unit == "percent or cents":
        scale = f"(CASE WHEN {_discount_type(plan)} = 'percent' THEN 1 ELSE 100 END)"
    exact = f"(TRY_CAST({raw} AS DECIMAL(30, 6)) * {scale})"
    fits = f"{exact} = floor({exact})"
    if kind == "string":
        fits += f" AND regexp_full_match({raw}, '\\s*[+-]?\\d+(\\.\\d{{0,6}}0*)?\\s*')"
    return f"CASE WHEN {fits} THEN TRY_CAST({exact} AS BIGINT) END"


def _discount_type(plan: ColumnPlan) -> str:
    if "discount_type" in plan.constants:
        return literal(plan.constants["discount_type"])
    return "CAST(source.discount_type AS VARCHAR)" if "discount_type" in plan.origin else "NULL"


def _instant(plan: ColumnPlan, column: Column, raw: str, kind: str) -> str:
    if kind.startswith("timestamp") and "tz=" in kind:
        return f"CAST({raw} AS TIMESTAMPTZ)"
    if kind != "string" and plan.timezone is None:
        raise SourceError(
            f"{plan.table.name}.{column.name} has times without a zone ({kind}); state "
            'their zone in mapping.toml, as in timezone = "Europe/Paris".'
        )
    time = f"TRY_CAST({raw} AS TIMESTAMP)"
    naive = "NULL" if plan.timezone is None else instant_of_time(plan.timezone, time)
    day = "NULL" if plan.timezone is None else instant_of_day(plan.timezone, time)
    if kind != "string":
        return day if kind.startswith("date") else naive
    utc = f"regexp_replace(trim({raw}), '\\s?([Zz]|UTC|GMT)$', 'Z')"
    zoned = f"TRY_CAST(regexp_replace({utc}, '\\s([+-][\\d:]+)$', '\\1') AS TIMESTAMPTZ)"
    return (
        f"CASE WHEN regexp_full_match({raw}, '{_ZONED}') THEN {zoned} "
        f"WHEN regexp_full_match({raw}, '{_DAY}{_CLOCK}\\s*') THEN {naive} "
        f"WHEN regexp_full_match({raw}, '{_DAY}\\s*') THEN {day} END"
    )
