"""Casting a file's columns to the contract's types, row by row, keeping what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from feature_repo.contract import Column, Table
from feature_repo.sources import SourceError

_DAY = r"\s*\d{4}-\d{1,2}-\d{1,2}"
_CLOCK = r"[ T]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_NAIVE = rf"{_DAY}({_CLOCK})?\s*"
_ZONED = rf"{_DAY}{_CLOCK}\s?(UTC|GMT|[Zz]|[+-]\d{{2}}(:?\d{{2}})?)\s*"

# The kinds of file columns whose values can be read as a type of the contract.
_READABLE = {
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
class Reading:
    """Where each contract column of a file comes from, and what its times and money mean.

    ``origin`` maps contract columns to columns of the file; those in ``constants`` are not in it.
    """

    table: Table
    origin: Mapping[str, str]
    constants: Mapping[str, object]
    timezone: str | None
    money_in_major_units: bool

    @property
    def assumes_learned(self) -> bool:
        return "created_timestamp" not in {*self.origin, *self.constants}


def cast(connection, reading: Reading, raw):
    """The rows of an Arrow table that fit the contract, with ``_row``, and those that do not.

    The second table has the columns row_number, rule, reason and payload: the row as JSON in
    contract columns, cast where a value fits and as it came where it does not. Instants that are
    finer than a microsecond are cut off; a naive time that the clock shows twice, when daylight
    saving ends, is the later one. Raises SourceError for a column or constant that can hold no
    value of its type.
    """
    _register(connection, reading, raw)
    kinds = {column: str(raw.schema.field(name).type) for column, name in reading.origin.items()}
    values = {c.name: _value(reading, c, kinds) for c in reading.table.columns}
    _check_constants(connection, reading)
    selected = ", ".join(f"{value} AS {name}" for name, value in values.items())
    connection.execute(f"CREATE VIEW valued AS SELECT {selected}, _row, source FROM origin")
    misfits = [f"(source.{c} IS NOT NULL AND {c} IS NULL)" for c in reading.origin]
    misfit = " OR ".join(misfits) or "false"
    # A row that does not say when it was learned was learned when it happened.
    learned = "coalesce(created_timestamp, event_timestamp) AS created_timestamp"
    good = (
        f"SELECT * EXCLUDE (source) REPLACE ({learned}) FROM valued WHERE NOT ({misfit}) "
        "ORDER BY _row"
    )
    bad = _rejected(reading) + f" FROM valued WHERE {misfit} ORDER BY _row"
    return connection.sql(good).to_arrow_table(), connection.sql(bad).to_arrow_table()


def _register(connection, reading: Reading, raw) -> None:
    """The file's columns under their contract names, which are safe, and rows counted from 1."""
    import pyarrow as pa

    columns = {name: _plain(raw[source]) for name, source in reading.origin.items()}
    columns["_row"] = pa.array(range(1, raw.num_rows + 1), pa.int64())
    connection.register("plain", pa.table(columns))
    packed = ", ".join(f"{name} := {name}" for name in columns)
    connection.execute(
        f"CREATE VIEW origin AS SELECT struct_pack({packed}) AS source, _row FROM plain"
    )


def _plain(column):
    """The column without dictionaries, and its instants in microseconds."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _check_constants(connection, reading: Reading) -> None:
    for name, constant in reading.constants.items():
        alone = _value(replace(reading, origin={}), reading.table.column(name), {})
        if connection.execute(f"SELECT {alone} IS NULL").fetchall()[0][0]:
            expected = _expected(reading, reading.table.column(name))
            raise SourceError(
                f"mapping.toml: the constant {reading.table.name}.{name} should be {expected}, "
                f"got {constant!r}."
            )


def _rejected(reading: Reading) -> str:
    """The start of the query for the rows that do not fit: what is wrong and what they held."""
    sentences, zoneless, content = [], [], []
    for column in reading.table.columns:
        name = column.name
        if name not in reading.origin:
            content.append(f"'{name}', {_shown(column)}")
            continue
        raw = f"source.{name}"
        misfit = f"{raw} IS NOT NULL AND {name} IS NULL"
        wanted = _literal(f"{name} should be {_expected(reading, column)}, got '")
        sentences.append(f"CASE WHEN {misfit} THEN {wanted} || {raw} || '''' END")
        content.append(
            f"'{name}', CASE WHEN {misfit} THEN to_json({raw}) ELSE to_json({_shown(column)}) END"
        )
        if column.type == "timestamp":
            naive = f"regexp_full_match(CAST({raw} AS VARCHAR), '{_NAIVE}')"
            known = f"TRY_CAST({raw} AS TIMESTAMP) IS NOT NULL"
            zoneless.append(f"({misfit} AND {naive} AND {known})")
    title = _literal(f"{reading.table.name} row ")
    return f"""
        SELECT _row AS row_number,
            CASE WHEN {" OR ".join(zoneless) or "false"} THEN 'time_zone' ELSE 'type' END AS rule,
            {title} || _row || ': ' || concat_ws('; ', {", ".join(sentences)}) || '.' AS reason,
            CAST(json_object({", ".join(content)}) AS VARCHAR) AS payload"""


def _shown(column: Column) -> str:
    if column.type == "timestamp":
        return f"strftime({column.name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return column.name


def _expected(reading: Reading, column: Column) -> str:
    if column.unit == "cents" and reading.money_in_major_units:
        return "an amount such as 3.50"
    if column.type == "timestamp" and reading.timezone is not None:
        return f"an instant, or a time that clocks in {reading.timezone} show"
    return _WORDS[column.type]


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _value(reading: Reading, column: Column, kinds: Mapping[str, str]) -> str:
    """An expression for the column's value in its type; null where it does not fit."""
    if column.name in reading.constants:
        return _typed(reading, column, _literal(reading.constants[column.name]), "string")
    if column.name in reading.origin:
        return _typed(reading, column, f"source.{column.name}", kinds[column.name])
    if column.name == "created_timestamp":
        return _value(reading, reading.table.column("event_timestamp"), kinds)
    return f"CAST(NULL AS {_SQL.get(column.type, 'TIMESTAMPTZ')})"


def _typed(reading: Reading, column: Column, raw: str, kind: str) -> str:
    kind = _value_kind(kind)
    if kind == "null":
        return f"CAST(NULL AS {_SQL.get(column.type, 'TIMESTAMPTZ')})"
    if not kind.startswith(_READABLE[column.type]):
        raise SourceError(
            f"{reading.table.name}.{column.name} should be {_WORDS[column.type]}, but its column "
            f"in the file has the type {kind}; write it in another type."
        )
    if column.type == "timestamp":
        return _instant(reading, column, raw, kind)
    if column.type == "int64":
        return _whole(reading, column, raw, kind)
    if column.type == "bool":
        return f"TRY_CAST(CAST({raw} AS VARCHAR) AS BOOLEAN)"
    return f"TRY_CAST({raw} AS {_SQL[column.type]})"


def _value_kind(kind: str) -> str:
    """The Arrow type of the values, whatever way they are laid out."""
    if kind.startswith("dictionary<values="):
        kind = kind.removeprefix("dictionary<values=").split(", indices=")[0]
    return {"large_string": "string", "string_view": "string"}.get(kind, kind)


def _whole(reading: Reading, column: Column, raw: str, kind: str) -> str:
    """A whole number of the column's unit; text with more digits than can be exact does not fit."""
    scale = "1"
    if reading.money_in_major_units and column.unit == "cents":
        scale = "100"
    elif reading.money_in_major_units and column.unit == "percent or cents":
        scale = f"(CASE WHEN {_discount_type(reading)} = 'percent' THEN 1 ELSE 100 END)"
    exact = f"(TRY_CAST({raw} AS DECIMAL(30, 6)) * {scale})"
    fits = f"{exact} = floor({exact})"
    if kind == "string":
        fits += f" AND regexp_full_match({raw}, '\\s*[+-]?\\d+(\\.\\d{{0,6}}0*)?\\s*')"
    return f"CASE WHEN {fits} THEN TRY_CAST({exact} AS BIGINT) END"


def _discount_type(reading: Reading) -> str:
    if "discount_type" in reading.constants:
        return _literal(reading.constants["discount_type"])
    return "CAST(source.discount_type AS VARCHAR)" if "discount_type" in reading.origin else "NULL"


def _instant(reading: Reading, column: Column, raw: str, kind: str) -> str:
    if kind.startswith("timestamp") and "tz=" in kind:
        return f"CAST({raw} AS TIMESTAMPTZ)"
    if kind != "string" and reading.timezone is None:
        raise SourceError(
            f"{reading.table.name}.{column.name} has times without a zone ({kind}); say in "
            'mapping.toml which zone they are in, as in timezone = "Europe/Paris".'
        )
    naive = "NULL" if reading.timezone is None else _local(reading.timezone, raw)
    if kind != "string":
        return naive
    utc = f"regexp_replace(trim({raw}), '\\s?([Zz]|UTC|GMT)$', 'Z')"
    zoned = f"TRY_CAST(regexp_replace({utc}, '\\s([+-][\\d:]+)$', '\\1') AS TIMESTAMPTZ)"
    return (
        f"CASE WHEN regexp_full_match({raw}, '{_ZONED}') THEN {zoned} "
        f"WHEN regexp_full_match({raw}, '{_NAIVE}') THEN {naive} END"
    )


def _local(timezone: str, raw: str) -> str:
    """The instant at which clocks in a zone show a time; null if they skip it."""
    zone, shown = _literal(timezone), f"TRY_CAST({raw} AS TIMESTAMP)"
    there = f"timezone({zone}, {shown})"
    return f"CASE WHEN timezone({zone}, {there}) = {shown} THEN {there} END"
