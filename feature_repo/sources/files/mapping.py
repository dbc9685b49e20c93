"""The file ``mapping.toml`` of a folder of files, checked against the contract."""

import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from feature_repo.contract import TABLES
from feature_repo.sources import SourceError
from feature_repo.sources.files.csv_format import DELIMITERS

_KEYS = ("timezone", "money", "nulls", "encoding", "delimiter")
_TABLE_KEYS = ("file", "columns", "constants", "as_is", "ignore", "encoding", "delimiter")
_LAST_DAY = "valid_to_is_last_day"
_SCALAR = "a text, a number, true, false or a time"


def read_mapping(folder: Path) -> dict[str, Any]:
    """Reads the folder's mapping; empty if it has none.

    Raises SourceError if the folder is missing or the mapping does not fit the contract.
    """
    if not folder.is_dir():
        raise SourceError(
            f"Expected a folder of Parquet or CSV files, but {folder} is no folder; pass another."
        )
    path = folder / "mapping.toml"
    if not path.exists():
        return {}
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not valid TOML: {error}.") from error
    check_mapping(mapping, path)
    return mapping


def check_mapping(mapping: Mapping[str, Any], path: Path) -> None:
    """Raises SourceError with the path if a mapping does not fit the contract."""
    wrong = next(chain(_unknown(mapping), _unfit(mapping)), None)
    if wrong:
        raise SourceError(f"{path}: {wrong}")


def _unknown(mapping: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name in mapping if name not in (*_KEYS, *TABLES)]
    for name, table in TABLES.items():
        options = mapping.get(name, {})
        if not isinstance(options, dict):
            yield f"{name} should be a table, as in [{name}], got {options!r}."
            return
        allowed = (*_TABLE_KEYS, _LAST_DAY) if name == "coupons" else _TABLE_KEYS
        names += [f"{name}.{key}" for key in options if key not in allowed]
        for kind in ("columns", "constants"):
            given = options.get(kind, {})
            if not isinstance(given, dict):
                yield f"{name}.{kind} should be like {{ user_id = ... }}, got {given!r}."
                return
            names += [f"{name}.{kind}.{key}" for key in given if key not in table.column_names]
    if names:
        yield (
            f"{', '.join(names)} is not in the contract; expected {', '.join(_KEYS)}, or a table "
            f"of {', '.join(TABLES)} with {', '.join(_TABLE_KEYS)}, and {_LAST_DAY} for coupons."
        )


def _unfit(mapping: Mapping[str, Any]) -> Iterator[str]:
    if mapping.get("money", "minor") not in ("minor", "major"):
        yield f"money should be minor or major, got {mapping['money']!r}."
    if not _is_zone(mapping.get("timezone", "UTC")):
        yield f"timezone should be a name like Europe/Paris, got {mapping['timezone']!r}."
    yield from _unfit_format(mapping, "")
    if not _is_texts(mapping.get("nulls", [])):
        yield f'nulls should be a list of words, as in ["NA"], got {mapping["nulls"]!r}.'
    for name, table in TABLES.items():
        options = mapping.get(name, {})
        as_is = options.get("as_is", [])
        if not _is_texts(as_is) or set(as_is) - set(table.column_names):
            yield f"{name}.as_is should be a list of columns of {name}, got {as_is!r}."
        if not _is_texts(options.get("ignore", [])):
            given = options["ignore"]
            yield f'{name}.ignore should be a list of texts such as ["a"], got {given!r}.'
        if not isinstance(options.get(_LAST_DAY, False), bool):
            yield f"{name}.{_LAST_DAY} should be true or false, got {options[_LAST_DAY]!r}."
        yield from _unfit_format(options, f"{name}.")
        if not isinstance(options.get("file", ""), str):
            yield f"{name}.file should be the name of a file, got {options['file']!r}."
        columns, constants = options.get("columns", {}), options.get("constants", {})
        for column, value in columns.items():
            if not isinstance(value, str):
                yield f"{name}.columns.{column} should be a column's name, got {value!r}."
        for column, value in constants.items():
            if isinstance(value, list | dict):
                yield f"{name}.constants.{column} should be {_SCALAR}, got {value!r}."
            if column in columns:
                yield f"{name}.{column} is both in columns and in constants; keep one."


def _unfit_format(options: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yields the fault of an encoding or a delimiter, of the folder or of one table."""
    encoding, delimiter = options.get("encoding", "utf-8"), options.get("delimiter", ",")
    if not _is_encoding(encoding):
        yield f"{place}encoding should be a name like utf-8 or cp1252, got {encoding!r}."
    if delimiter not in DELIMITERS:
        expected = ", ".join(map(repr, DELIMITERS))
        yield f"{place}delimiter should be one of {expected}, got {delimiter!r}."


def _is_encoding(name: object) -> bool:
    try:
        return isinstance(name, str) and "".encode(name) is not None
    except LookupError:
        return False


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_zone(name: object) -> bool:
    try:
        return isinstance(name, str) and bool(ZoneInfo(name))
    except (OSError, KeyError, ValueError, TypeError):
        return False
