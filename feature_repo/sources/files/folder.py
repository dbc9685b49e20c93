"""The files of a folder: which of them is which table, and which are of none."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_repo.contract import TABLES
from feature_repo.sources import SourceError
from feature_repo.sources.files.column_names import is_near, normalized

Kind = Literal["csv", "parquet"]

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_TEXT = tuple(f"{one}{two}" for one in (".csv", ".tsv") for two in ("", *_COMPRESSED))
_SUFFIXES = (".parquet", *_TEXT)

# Files of these kinds hold rows, but no table is read from them.
_OTHER_DATA = (
    *_COMPRESSED, ".zip", ".7z", ".tar", ".tgz", ".xls", ".xlsx", ".xlsm", ".ods", ".jsonl",
    ".ndjson", ".feather", ".arrow", ".avro", ".orc", ".parq", ".pq", ".tab", ".dat", ".sqlite",
)  # fmt: skip

_NO_DATA = (".toml", ".md", ".py", ".sql")


@dataclass(frozen=True)
class TableFiles:
    """The path of each table in the folder, and the names of the files that no table reads."""

    paths: Mapping[str, Path]
    unread: tuple[str, ...]


def kind_of(path: Path) -> Kind | None:
    """Returns the kind of a file by its name; None if no table can be read from it.

    >>> kind_of(Path("Events.CSV.gz"))
    'csv'
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    return "csv" if name.endswith(_TEXT) else None


def table_files(folder: Path, mapping: Mapping[str, Any]) -> TableFiles:
    """Finds the file, or the folder of part files, of each table.

    Raises SourceError for a file that the mapping names and the folder lacks, for two files of one
    table, and for files that hold rows of no table.
    """
    paths = {name: _path(folder, name, mapping.get(name, {})) for name in TABLES}
    found = {name: path for name, path in paths.items() if path is not None}
    for name in TABLES:
        if name in mapping and name not in found:
            raise SourceError(
                f"mapping.toml describes {name}, but {folder} has no {name}.csv or "
                f"{name}.parquet; add it, or set file = ... in mapping.toml."
            )
    others = [path for path in _visible(folder) if path not in found.values()]
    unexpected = [path for path in others if _holds_rows(path)]
    if unexpected or not found:
        raise SourceError(
            f"Expected files like events.csv or users.parquet in {folder}, found "
            f"{', '.join(path.name for path in unexpected) or 'none'}; the tables are "
            f"{', '.join(TABLES)}. Rename the files, name them in mapping.toml, or move them away."
        )
    unread = tuple(path.name for path in others if path.suffix.lower() not in _NO_DATA)
    return TableFiles(found, unread)


def parts(path: Path) -> list[Path]:
    """Returns the file, or the part files of a folder, ordered by name.

    Raises SourceError unless the parts are of one kind and nothing else is in the folder.
    """
    if not path.is_dir():
        return [path]
    found = _visible(path)
    kinds = {kind_of(one) if one.is_file() else None for one in found}
    if len(kinds) != 1 or None in kinds:
        raise SourceError(
            f"Expected .csv or .parquet files of one kind in the folder {path}, found "
            f"{_some([one.name for one in found])}; remove the others."
        )
    return found


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _path(folder: Path, name: str, options: Mapping[str, Any]) -> Path | None:
    if "file" in options:
        path = folder / options["file"]
        if not path.exists() or (path.is_file() and kind_of(path) is None):
            raise SourceError(
                f"mapping.toml names {path} for {name}; expected a .csv or .parquet file there, "
                "or a folder of them. Write it, or correct mapping.toml."
            )
        return path
    names = (*(f"{name}{suffix}" for suffix in _SUFFIXES), name)
    found = [folder / one for one in names if (folder / one).exists()]
    if len(found) > 1:
        raise SourceError(f"Both {found[0].name} and {found[1].name} are in {folder}; keep one.")
    return found[0] if found else None


def _visible(folder: Path) -> list[Path]:
    """Lists the entries of a folder by name; hidden ones belong to other programs."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))


def _holds_rows(path: Path) -> bool:
    """True for a data file by its name, and for any file or folder that is named like a table.

    >>> [_holds_rows(Path(name)) for name in ("Events-old.json", "request.json", "sales.xlsx")]
    [True, False, True]
    """
    if kind_of(path) or path.name.lower().endswith(_OTHER_DATA):
        return True
    stem = normalized(path.name.split(".")[0])
    return path.suffix.lower() not in _NO_DATA and any(is_near(stem, name) for name in TABLES)
