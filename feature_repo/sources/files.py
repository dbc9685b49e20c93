"""A folder of Parquet or CSV files in the contract, with an optional mapping.

``users.csv``, ``users.csv.gz``, ``users.parquet`` or a folder ``users`` with part files of one kind
holds the table ``users``; the other tables likewise. Tables may be missing. Other data files in the
folder are refused. A file ``mapping.toml`` in the folder states the differences from the contract::

    timezone = "Europe/Paris"          # zone of times without one
    money = "major"                    # amounts are 3.50 and not 350

    [events]
    file = "sales.csv"
    columns = { user_id = "card_no", event_timestamp = "sold_at" }
    constants = { event_type = "purchase" }
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake.duckdb_files import connect
from feature_repo.sources import Batch, SourceError
from feature_repo.sources.casting import ColumnPlan, cast
from feature_repo.sources.column_names import is_near, normalized
from feature_repo.sources.columns import plan_columns, respelled, unlike
from feature_repo.sources.csv_reader import CSV_SUFFIXES, delimiter_of, is_csv, read_csv
from feature_repo.sources.mapping import read_mapping

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", *CSV_SUFFIXES)

_OTHER_DATA = (
    *(".tsv", ".tab", ".xlsx", ".xls", ".ods", ".jsonl", ".ndjson", ".feather", ".arrow", ".orc"),
    *(".avro", ".gz", ".bz2", ".zst", ".xz", ".zip", ".7z"),
)
"""Suffixes of data that no table reads."""

_NO_DATA = (".toml", ".md", ".py", ".sql")


def read_file(path: Path) -> "pa.Table":
    """Reads one Parquet or CSV file into an Arrow table; CSV values are strings or null.

    Raises SourceError for a file that is corrupt, not UTF-8, or has a quote that is not closed.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            with pa.parquet.ParquetFile(path) as file:
                return file.read()
        return read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, StopIteration) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "UTF-8 CSV"
        detail = (str(error) or "it has no header").splitlines()[0].rstrip(".")
        raise SourceError(
            f"{path} cannot be read as {kind} ({detail}); write it again, then ingest."
        ) from error


def read(
    folder: Path,
    progress: Callable[[str], None] = lambda name: None,
    reader: "Callable[[Path], pa.Table]" = read_file,
) -> Batch:
    """Reads the files of a folder as one batch; calls ``progress`` with each table's name.

    Raises SourceError for a folder without tables, for a missing column, and for a mapping that
    names a missing file or column. Also for a file that is empty, corrupt, not of a table, or that
    changes during the read.
    """
    mapping = read_mapping(folder)
    found = _found(folder, mapping)
    tables, rejected, learned = {}, {}, {}
    assumed = _left_out(folder, found)
    for name, path in found.items():
        raw = _read_unchanged(path, reader)
        plan = plan_columns(TABLES[name], path, raw, mapping)
        notes = [*_delimiters(path), *unlike(plan, raw, mapping)]
        plan, rows, spelled = respelled(plan, raw, mapping)
        tables[name], rejected[name] = _cast(plan, rows)
        assumed += [f"{path.name}: {note}." for note in [*notes, *spelled]]
        learned[name] = "assumed" if plan.assumes_learned else "stated"
        progress(name)
    source = f"files:{folder.resolve().name}"
    return Batch(source, tables, learned=learned, rejected=rejected, assumed=tuple(assumed))


def _found(folder: Path, mapping: Mapping[str, Any]) -> dict[str, Path]:
    """Returns the path of each table that the folder contains."""
    paths = {name: _path(folder, name, mapping.get(name, {})) for name in TABLES}
    found = {name: path for name, path in paths.items() if path is not None}
    for name in TABLES:
        if name in mapping and name not in found:
            raise SourceError(
                f"mapping.toml describes {name}, but {folder} has no {name}.csv or "
                f"{name}.parquet; add it, or set file = ... in mapping.toml."
            )
    unexpected = [
        path.name
        for path in _visible(folder)
        if path.is_file() and path not in found.values() and _is_data(path)
    ]
    if unexpected or not found:
        raise SourceError(
            f"Expected files like events.csv or users.parquet in {folder}, found "
            f"{', '.join(unexpected) or 'none'}; the tables are {', '.join(TABLES)}. Rename the "
            "files, write them as CSV (also .csv.gz) or Parquet, name them in mapping.toml, or "
            "move them away."
        )
    return found


def _path(folder: Path, name: str, options: Mapping[str, Any]) -> Path | None:
    if "file" in options:
        path = folder / options["file"]
        if not path.exists() or (path.is_file() and not _is_table(path)):
            raise SourceError(
                f"mapping.toml names {path} for {name}; expected a .csv or .parquet file there, "
                "or a folder of them. Write it, or correct mapping.toml."
            )
        return path
    names = (*(f"{name}{suffix}" for suffix in SUFFIXES), name)
    found = [folder / one for one in names if (folder / one).exists()]
    if len(found) > 1:
        raise SourceError(f"Both {found[0].name} and {found[1].name} are in {folder}; keep one.")
    return found[0] if found else None


def _visible(folder: Path) -> list[Path]:
    """Lists the content of a folder by name; hidden files belong to other programs."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))


def _data_files(folder: Path) -> list[Path]:
    """Lists the files of a folder that a table can be read from, by name."""
    return [path for path in _visible(folder) if _is_table(path)]


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _is_data(path: Path) -> bool:
    """Returns whether a file holds data by its suffix, or may be meant for a table by its name."""
    stem = normalized(path.name.split(".")[0])
    return (
        _is_table(path)
        or path.suffix.lower() in _OTHER_DATA
        or (path.suffix.lower() not in _NO_DATA and any(is_near(stem, one) for one in TABLES))
    )


def _left_out(folder: Path, found: Mapping[str, Path]) -> list[str]:
    """Returns a sentence on the files and folders that are not read, if there are any."""
    others = [
        path.name
        for path in _visible(folder)
        if path not in found.values() and path.suffix.lower() not in _NO_DATA
    ]
    return [f"{folder.resolve().name}: not read: {', '.join(others)}."] if others else []


def _delimiters(path: Path) -> list[str]:
    """Returns a sentence for each delimiter other than a comma in a file or its parts."""
    parts = _data_files(path) if path.is_dir() else [path]
    found = {delimiter_of(part) for part in parts if is_csv(part)} - {","}
    return [f"{one!r} separates the columns" for one in sorted(found)]


def _read_unchanged(path: Path, reader: "Callable[[Path], pa.Table]") -> "pa.Table":
    """Reads a file or a folder of part files; raises SourceError if it changes meanwhile."""
    import pyarrow as pa

    before = _file_versions(path)
    for part, (size, _, _) in before.items():
        if size == 0:
            raise SourceError(f"{part} is empty; expected columns and rows. Fill or remove it.")
    try:
        rows = pa.concat_tables([reader(part) for part in before])
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"The files in {path} have different columns or types; write them all alike."
        ) from error
    if _file_versions(path) != before:
        raise SourceError(f"{path} changed while it was read; ingest again when it is complete.")
    if rows.num_rows == 0:
        raise SourceError(f"{path} has no rows; fill it or remove it.")
    return rows


def _file_versions(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Returns size, time of change and inode of the file, or of each part file of a folder."""
    parts = _data_files(path) if path.is_dir() else [path]
    if len({is_csv(part) for part in parts}) != 1:
        raise SourceError(
            f"Expected .csv or .parquet files of one kind in the folder {path}; remove the others."
        )
    try:
        stats = {part: part.stat() for part in parts}
    except FileNotFoundError as error:
        raise SourceError(
            f"{error.filename} was removed while {path} was read; ingest again when it is complete."
        ) from error
    return {part: (one.st_size, one.st_mtime_ns, one.st_ino) for part, one in stats.items()}


def _cast(plan: ColumnPlan, raw: "pa.Table") -> "tuple[pa.Table, pa.Table]":
    """Returns the rows in contract types with their numbers, and the rows that do not fit."""
    import pyarrow as pa

    good, bad = cast(connect(), plan, raw)
    schema = arrow_schema(plan.table)
    # Only types are checked here; validation refuses nulls, row by row.
    columns = [good[field.name].cast(field.type) for field in schema] + [good["_row"]]
    return pa.table(columns, names=[*schema.names, "_row"]), bad
