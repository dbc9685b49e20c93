"""A folder of Parquet or CSV files in the contract, with an optional mapping.

``users.csv``, ``users.parquet`` or a folder ``users`` with part files of one kind holds the table
``users``; the other tables likewise. CSV may be compressed (``users.csv.gz``), or separated by tabs
(``users.tsv``). Tables may be missing. Other data files in the folder are refused. A file
``mapping.toml`` in the folder states the differences from the contract::

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

from feature_repo.contract import TABLES
from feature_repo.sources import Batch, SourceError
from feature_repo.sources.casting import contract_rows
from feature_repo.sources.files.columns import plan_columns, respelled
from feature_repo.sources.files.csv_files import read_csv
from feature_repo.sources.files.csv_format import Stated
from feature_repo.sources.files.folder import kind_of, parts, table_files
from feature_repo.sources.files.mapping import read_mapping

if TYPE_CHECKING:
    import pyarrow as pa

Reader = Callable[[Path, Stated], "tuple[pa.Table, list[str]]"]
"""Reads one file; returns its values, and notes on what was taken for granted."""


def read_file(path: Path, stated: Stated) -> "tuple[pa.Table, list[str]]":
    """Reads one Parquet or CSV file into an Arrow table; CSV values are strings or null.

    Raises SourceError for a file that is corrupt.
    """
    import pyarrow as pa
    import pyarrow.parquet

    if kind_of(path) == "csv":
        return read_csv(path, stated)
    try:
        with pa.parquet.ParquetFile(path) as file:
            return file.read(), []
    except (pa.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0].rstrip(".")
        raise SourceError(
            f"{path} cannot be read as Parquet ({detail}); write it again, then ingest."
        ) from error


def read(
    folder: Path,
    progress: Callable[[str], None] = lambda name: None,
    reader: Reader = read_file,
) -> Batch:
    """Reads the files of a folder as one batch; calls ``progress`` with each table's name.

    Raises SourceError for a folder without tables, for a missing column, and for a mapping that
    names a missing file or column. Also for a file that is empty, corrupt, not of a table, or that
    changes during the read.
    """
    mapping = read_mapping(folder)
    found = table_files(folder, mapping)
    tables, rejected, learned, assumed = {}, {}, {}, []
    if found.unread:
        assumed.append(f"Files that no table reads: {', '.join(found.unread)}.")
    for name, path in found.paths.items():
        raw, notes = _read_unchanged(path, _stated(name, mapping), reader)
        plan, named = plan_columns(TABLES[name], path, raw, mapping)
        plan, rows, spelled = respelled(plan, raw, mapping)
        tables[name], rejected[name] = contract_rows(plan, rows)
        learned[name] = "assumed" if plan.assumes_learned else "stated"
        assumed += [f"{path.name}: {note}." for note in (*notes, *named, *spelled)]
        progress(name)
    source = f"files:{folder.resolve().name}"
    return Batch(source, tables, learned=learned, rejected=rejected, assumed=tuple(assumed))


def _stated(name: str, mapping: Mapping[str, Any]) -> Stated:
    """Returns what the mapping states of the files of a table, which wins over the folder's."""
    options = mapping | mapping.get(name, {})
    columns = (*TABLES[name].column_names, *options.get("columns", {}).values())
    return Stated(columns, options.get("encoding"), options.get("delimiter"))


def _read_unchanged(path: Path, stated: Stated, reader: Reader) -> "tuple[pa.Table, list[str]]":
    """Reads a file or a folder of part files; raises SourceError if it changes meanwhile."""
    import pyarrow as pa

    before = _file_versions(path)
    for part, (size, _, _) in before.items():
        if size == 0:
            raise SourceError(f"{part} is empty; expected columns and rows. Fill or remove it.")
    read = [reader(part, stated) for part in before]
    try:
        rows = pa.concat_tables([part for part, _ in read])
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"The files in {path} have different columns or types; write them all alike."
        ) from error
    if _file_versions(path) != before:
        raise SourceError(f"{path} changed while it was read; ingest again when it is complete.")
    if rows.num_rows == 0:
        raise SourceError(f"{path} has no rows; fill it or remove it.")
    return rows, list(dict.fromkeys(note for _, notes in read for note in notes))


def _file_versions(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Returns size, time of change and inode of the file, or of each part file of a folder."""
    try:
        stats = {part: part.stat() for part in parts(path)}
    except FileNotFoundError as error:
        raise SourceError(
            f"{error.filename} was removed while {path} was read; ingest again when it is complete."
        ) from error
    return {part: (one.st_size, one.st_mtime_ns, one.st_ino) for part, one in stats.items()}
