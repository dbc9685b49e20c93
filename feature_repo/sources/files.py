"""A folder of Parquet or CSV files in the contract, one a table, with an optional mapping.

``users.csv`` or ``users.parquet`` holds the table ``users``, and so on; tables may be missing. A
file ``mapping.toml`` in the folder says what differs from the contract::

    timezone = "Europe/Paris"          # of times that name no zone
    money = "major"                    # amounts are 3.50 rather than 350

    [events]
    file = "sales.csv"
    columns = { user_id = "card_no", event_timestamp = "sold_at" }
    constants = { event_type = "purchase" }
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feature_repo.contract import TABLES, Table, arrow_schema
from feature_repo.lake import connect
from feature_repo.sources import Batch, SourceError, numbered
from feature_repo.sources.casting import Reading, cast_query

_SUFFIXES = (".parquet", ".csv")
_TABLE_KEYS = {"file", "columns", "constants"}


def read(folder: Path, progress: Callable[[str], None] = lambda name: None) -> Batch:
    """The files of a folder as one batch; ``progress`` hears the name of every table read.

    Raises SourceError for a folder without tables, a file that is empty, corrupt or changes while
    it is read, a missing column, or a mapping that names what is not there.
    """
    mapping = _mapping(folder)
    paths = {name: _path(folder, name, mapping.get(name, {})) for name in TABLES}
    found = {name: path for name, path in paths.items() if path is not None}
    if not found:
        raise SourceError(
            f"Expected files like events.csv or users.parquet in {folder}, found none. "
            f"The tables are {', '.join(TABLES)}."
        )
    tables, rejected, learned = {}, {}, {}
    for name, path in found.items():
        raw = _stable(path)
        reading = _reading(TABLES[name], path, raw, mapping)
        tables[name], rejected[name] = _cast(reading, raw)
        learned[name] = "assumed" if reading.assumes_learned else "stated"
        progress(name)
    return Batch(f"files:{folder.name}", tables, learned=learned, rejected=rejected)


def _mapping(folder: Path) -> dict:
    if not folder.is_dir():
        raise SourceError(f"Expected a folder of Parquet or CSV files, {folder} is not one.")
    path = folder / "mapping.toml"
    if not path.exists():
        return {}
    try:
        mapping = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not valid TOML: {error}.") from error
    _check_mapping(path, mapping)
    return mapping


def _check_mapping(path: Path, mapping: Mapping) -> None:
    unknown = set(mapping) - {"timezone", "money", *TABLES}
    for name in set(mapping) & set(TABLES):
        unknown |= {f"{name}.{key}" for key in set(mapping[name]) - _TABLE_KEYS}
        given = {**mapping[name].get("columns", {}), **mapping[name].get("constants", {})}
        unknown |= {f"{name}.{key}" for key in set(given) - set(TABLES[name].column_names)}
    if unknown:
        raise SourceError(
            f"{path} names {', '.join(sorted(unknown))}, which the contract does not have. "
            f"Expected timezone, money, or a table of {', '.join(TABLES)} with file, columns "
            "and constants."
        )
    if mapping.get("money", "minor") not in ("minor", "major"):
        raise SourceError(f"{path}: money should be minor or major, got {mapping['money']!r}.")
    try:
        ZoneInfo(mapping.get("timezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        raise SourceError(
            f"{path}: expected a time zone like Europe/Paris, got {mapping['timezone']!r}."
        ) from None


def _path(folder: Path, name: str, options: Mapping) -> Path | None:
    if "file" in options:
        path = folder / options["file"]
        if not path.is_file():
            raise SourceError(f"mapping.toml says {name} is in {path}, which is not a file.")
        return path
    found = [folder / f"{name}{s}" for s in _SUFFIXES if (folder / f"{name}{s}").is_file()]
    if len(found) > 1:
        raise SourceError(f"Both {found[0].name} and {found[1].name} are in {folder}; keep one.")
    return found[0] if found else None


def _stable(path: Path):
    """The file's rows, if it was the same file from start to end of the reading."""
    before = path.stat()
    if before.st_size == 0:
        raise SourceError(f"{path} is empty; expected a header and rows. Fill it or remove it.")
    rows = _read(path)
    after = path.stat()
    mark = ("st_size", "st_mtime_ns", "st_ino")
    if any(getattr(before, one) != getattr(after, one) for one in mark):
        raise SourceError(f"{path} changed while it was read; ingest again when it is complete.")
    if rows.num_rows == 0:
        raise SourceError(f"{path} has no rows; fill it or remove it.")
    return rows


def _read(path: Path):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path)
        header = path.open(encoding="utf-8-sig").readline().rstrip("\r\n")
        names = [name.strip().strip('"') for name in header.split(",")]
        options = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        )
        return pa.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "UTF-8 CSV"
        detail = str(error).splitlines()[0]
        raise SourceError(f"{path} cannot be read as {kind}: {detail}") from error


def _reading(table: Table, path: Path, raw, mapping: Mapping) -> Reading:
    """How each contract column is filled: from a column, a constant, or with null."""
    options = mapping.get(table.name, {})
    constants = options.get("constants", {})
    origin = {}
    for column in table.columns:
        name = options.get("columns", {}).get(column.name, column.name)
        if name in raw.column_names:
            origin[column.name] = name
        elif column.name in options.get("columns", {}):
            raise _missing(table, path, f"{name} (mapped to {column.name})", raw)
        elif column.name not in constants and not column.nullable:
            if column.name != "created_timestamp":
                raise _missing(table, path, column.name, raw)
    return Reading(
        table, origin, constants, mapping.get("timezone"), mapping.get("money") == "major"
    )


def _missing(table: Table, path: Path, column: str, raw) -> SourceError:
    return SourceError(
        f"{path}: the table {table.name} needs the column {column}; the file has "
        f"{', '.join(raw.column_names)}. Add it, or map it in mapping.toml."
    )


def _cast(reading: Reading, raw):
    """The rows in contract types with their numbers, and those that do not fit them."""
    connection = connect()
    connection.register("raw", numbered(raw))
    types = {field.name: field.type for field in raw.schema}
    good, bad = cast_query(reading, types)
    schema = arrow_schema(reading.table)
    rows = connection.sql(good).to_arrow_table()
    # Nulls are validation's to refuse, row by row; here only types are settled.
    columns = [rows[field.name].cast(field.type) for field in schema] + [rows["_row"]]
    names = [*schema.names, "_row"]
    import pyarrow as pa

    return pa.table(columns, names=names), connection.sql(bad).to_arrow_table()
