"""Casting a file's columns to the contract's types, row by row, keeping what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from feature_repo.contract import Column, Table
from feature_repo.sources import SourceError

# A clock time followed by Z or an offset: without it the instant is not known.
_ZONED = r"\d{2}:\d{2}.*(Z|z|[+-]\d{2}(:?\d{2})?)\s*$"


@dataclass(frozen=True)
class Reading:
    """Where each contract column of a file comes from, and what its times and money mean."""

    table: Table
    origin: Mapping[str, str]
    constants: Mapping[str, object]
    timezone: str | None
    money_in_major_units: bool

    @property
    def assumes_learned(self) -> bool:
        return "created_timestamp" not in {*self.origin, *self.constants}


def cast_query(reading: Reading, types: Mapping[str, object]) -> tuple[str, str]:
    """Two DuckDB queries over the table ``raw``: the rows that fit, and those that do not.

    The second has the columns row_number, rule, reason and payload. Raises SourceError for a
    column whose type cannot hold the contract's values at all.
    """
    values, checks = [], []
    for column in reading.table.columns:
        value = _value(reading, column, types)
        values.append(f"{value} AS {column.name}")
        if column.name in reading.origin:
            raw = _quoted(reading.origin[column.name])
            checks.append(f"WHEN {raw} IS NOT NULL AND {value} IS NULL THEN '{column.name}'")
    failing = f"CASE {' '.join(checks)} END" if checks else "NULL"
    good = f"SELECT {', '.join(values)}, _row FROM raw WHERE {failing} IS NULL ORDER BY _row"
    return good, _rejected(reading, failing)


def _rejected(reading: Reading, failing: str) -> str:
    shown, wanted, rule = [], [], []
    for column in reading.table.columns:
        if column.name not in reading.origin:
            continue
        raw = _quoted(reading.origin[column.name])
        shown.append(f"WHEN '{column.name}' THEN CAST({raw} AS VARCHAR)")
        expected = _expected(reading, column)
        wanted.append(f"WHEN '{column.name}' THEN '{expected}'")
        if column.type == "timestamp":
            naive = f"NOT regexp_matches(CAST({raw} AS VARCHAR), '{_ZONED}')"
            rule.append(f"WHEN failing = '{column.name}' AND {naive} THEN 'time_zone'")
    name = reading.table.name
    return f"""
        SELECT _row AS row_number, CASE {" ".join(rule)} ELSE 'type' END AS rule,
            '{name} row ' || _row || ': ' || failing || ' should be '
                || CASE failing {" ".join(wanted)} END || ', got '''
                || CASE failing {" ".join(shown)} END || '''' AS reason,
            CAST(to_json(raw) AS VARCHAR) AS payload
        FROM (SELECT raw, raw._row, COLUMNS(* EXCLUDE (_row)), {failing} AS failing FROM raw)
        WHERE failing IS NOT NULL ORDER BY _row"""


def _expected(reading: Reading, column: Column) -> str:
    if column.type == "timestamp":
        return "an instant with its zone, such as 2017-12-01T00:00:00Z"
    if _is_money(column) and reading.money_in_major_units:
        return "an amount such as 3.50"
    return {"int64": "a whole number", "bool": "true or false"}.get(column.type, column.type)


def _is_money(column: Column) -> bool:
    return "minor units (cents)" in column.meaning


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _value(reading: Reading, column: Column, types: Mapping[str, object]) -> str:
    if column.name in reading.constants:
        return _typed(reading, column, _literal(reading.constants[column.name]), "string")
    if column.name in reading.origin:
        origin = reading.origin[column.name]
        return _typed(reading, column, _quoted(origin), str(types[origin]))
    if column.name == "created_timestamp":
        return _value(reading, reading.table.column("event_timestamp"), types)
    return "NULL"


def _typed(reading: Reading, column: Column, raw: str, kind: str) -> str:
    """An expression for a value in the column's type; null where it does not fit."""
    if column.type == "timestamp":
        return _instant(reading, column, raw, kind)
    if column.type == "int64":
        scale = 100 if _is_money(column) and reading.money_in_major_units else 1
        exact = f"(TRY_CAST({raw} AS DECIMAL(30, 6)) * {scale})"
        return f"CASE WHEN {exact} = floor({exact}) THEN TRY_CAST({exact} AS BIGINT) END"
    if column.type == "bool":
        return f"TRY_CAST({raw} AS BOOLEAN)"
    return f"CAST({raw} AS VARCHAR)"


def _instant(reading: Reading, column: Column, raw: str, kind: str) -> str:
    local = f"timezone({_literal(reading.timezone)}, TRY_CAST({raw} AS TIMESTAMP))"
    if kind.startswith("timestamp") and "tz=" in kind:
        return f"CAST({raw} AS TIMESTAMPTZ)"
    if kind.startswith(("timestamp", "date")):
        if reading.timezone is None:
            raise SourceError(
                f"{reading.table.name}.{column.name} has times without a zone ({kind}); say in "
                'mapping.toml which zone they are in, as in timezone = "Europe/Paris".'
            )
        return local
    if kind not in ("string", "large_string"):
        raise SourceError(
            f"{reading.table.name}.{column.name} should hold instants, got the type {kind}."
        )
    zoned = f"TRY_CAST({raw} AS TIMESTAMPTZ)"
    naive = local if reading.timezone else "NULL"
    return f"CASE WHEN regexp_matches({raw}, '{_ZONED}') THEN {zoned} ELSE {naive} END"
