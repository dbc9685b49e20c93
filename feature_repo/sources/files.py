"""A folder of Parquet or CSV files in the contract, with an optional mapping.

``users.csv``, ``users.parquet`` or a folder ``users`` with part files of one kind holds the table
``users``, and so on; tables may be missing. A file ``mapping.toml`` in the folder says what
differs from the contract::

    timezone = "Europe/Paris"          # of times that name no zone
    money = "major"                    # amounts are 3.50 rather than 350

    [events]
    file = "sales.csv"
    columns = { user_id = "card_no", event_timestamp = "sold_at" }
    constants = { event_type = "purchase" }
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from feature_repo.contract import TABLES, Table, arrow_schema
from feature_repo.lake.duckdb_files import connect
from feature_repo.sources import Batch, SourceError
from feature_repo.sources.casting import Reading, cast
from feature_repo.sources.mapping import read_mapping

SUFFIXES = (".parquet", ".csv")


def read_file(path: Path):
    """The rows of one Parquet or CSV file as an Arrow table; CSV values are strings or null.

    Raises SourceError for a file that is corrupt or not UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            with pa.parquet.ParquetFile(path) as file:
                return file.read()
        return _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, StopIteration) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "UTF-8 CSV"
        detail = (str(error) or "it has no header").splitlines()[0].rstrip(".")
        raise SourceError(
            f"{path} cannot be read as {kind} ({detail}); write it again and ingest then."
        ) from error


def read(
    folder: Path,
    progress: Callable[[str], None] = lambda name: None,
    reader: Callable[[Path], object] = read_file,
) -> Batch:
    """The files of a folder as one batch; ``progress`` hears the name of every table read.

    Raises SourceError for a folder without tables, a file that is empty, corrupt, of no table or
    changes while it is read, a missing column, or a mapping that names what is not there.
    """
    mapping = read_mapping(folder)
    found = _found(folder, mapping)
    tables, rejected, learned = {}, {}, {}
    for name, path in found.items():
        raw = _stable(path, reader)
        reading = _reading(TABLES[name], path, raw, mapping)
        tables[name], rejected[name] = _cast(reading, raw)
        learned[name] = "assumed" if reading.assumes_learned else "stated"
        progress(name)
    return Batch(f"files:{folder.resolve().name}", tables, learned=learned, rejected=rejected)


def _found(folder: Path, mapping: Mapping) -> dict[str, Path]:
    """Where each table is that the folder has."""
    paths = {name: _path(folder, name, mapping.get(name, {})) for name in TABLES}
    found = {name: path for name, path in paths.items() if path is not None}
    for name in TABLES:
        if name in mapping and name not in found:
            raise SourceError(
                f"mapping.toml describes {name}, but {folder} has no {name}.csv or "
                f"{name}.parquet; add it, or say file = ... in mapping.toml."
            )
    strange = [path.name for path in _data_files(folder) if path not in found.values()]
    if strange or not found:
        raise SourceError(
            f"Expected files like events.csv or users.parquet in {folder}, found "
            f"{', '.join(strange) or 'none'}; the tables are {', '.join(TABLES)}. Rename what is "
            "there, name it in mapping.toml, or move it away."
        )
    return found


def _path(folder: Path, name: str, options: Mapping) -> Path | None:
    if "file" in options:
        path = folder / options["file"]
        if not path.exists() or (path.is_file() and path.suffix.lower() not in SUFFIXES):
            raise SourceError(
                f"mapping.toml says that {name} is in {path}; expected a .csv or .parquet file "
                "or a folder of them there."
            )
        return path
    names = (f"{name}.parquet", f"{name}.csv", name)
    found = [folder / one for one in names if (folder / one).exists()]
    if len(found) > 1:
        raise SourceError(f"Both {found[0].name} and {found[1].name} are in {folder}; keep one.")
    return found[0] if found else None


def _data_files(folder: Path) -> list[Path]:
    """The visible data files of a folder by name; other programs keep theirs hidden."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not path.name.startswith((".", "_")))


def _stable(path: Path, reader: Callable[[Path], object]):
    """The rows of a file or a folder of part files, if it stayed the same while it was read."""
    import pyarrow as pa

    before = _marks(path)
    for part, mark in before.items():
        if mark[0] == 0:
            raise SourceError(f"{part} is empty; expected columns and rows. Fill or remove it.")
    try:
        rows = pa.concat_tables([reader(part) for part in before])
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"The files in {path} have different columns or types; write all of them alike."
        ) from error
    if _marks(path) != before:
        raise SourceError(f"{path} changed while it was read; ingest again when it is complete.")
    if rows.num_rows == 0:
        raise SourceError(f"{path} has no rows; fill it or remove it.")
    return rows


def _marks(path: Path) -> dict[Path, tuple[int, int, int]]:
    """The file, or the part files of a folder by name, with size, time of change and inode."""
    parts = _data_files(path) if path.is_dir() else [path]
    if len({part.suffix.lower() for part in parts}) != 1:
        raise SourceError(f"Expected .csv or .parquet files of one kind in the folder {path}.")
    try:
        stats = {part: part.stat() for part in parts}
    except FileNotFoundError as error:
        raise SourceError(f"{error.filename} went away while {path} was read.") from error
    return {part: (one.st_size, one.st_mtime_ns, one.st_ino) for part, one in stats.items()}


def _read_csv(path: Path):
    import csv

    import pyarrow as pa
    import pyarrow.csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file))
    return pa.csv.read_csv(
        path,
        # One thread tells the row of a parse error.
        read_options=pa.csv.ReadOptions(use_threads=False),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    )


def _reading(table: Table, path: Path, raw, mapping: Mapping) -> Reading:
    """How each contract column is filled: from a column, a constant, or with null."""
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
    import pyarrow as pa

    good, bad = cast(connect(), reading, raw)
    schema = arrow_schema(reading.table)
    # Nulls are validation's to refuse, row by row; here only types are settled.
    columns = [good[field.name].cast(field.type) for field in schema] + [good["_row"]]
    return pa.table(columns, names=[*schema.names, "_row"]), bad
