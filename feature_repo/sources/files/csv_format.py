"""The format of a CSV file: its compression, encoding, delimiter and header."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from feature_repo.sources import SourceError

DELIMITERS = (",", ";", "\t", "|")

_OPENERS: Mapping[str, Callable[[Path, str], object]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Stated:
    """Facts on a table's files before the read: its columns, and the format in the mapping."""

    columns: Collection[str] = ()
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class Format:
    """The format of a file. ``skipped`` is the number of lines before the header."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    skipped: int


def open_bytes(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        import pyarrow as pa

        return cast("IO[bytes]", pa.input_stream(str(path), compression="zstd"))
    return cast("IO[bytes]", _OPENERS.get(suffix, open)(path, "rb"))


def open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(cast("io.BufferedReader", open_bytes(path)), encoding, newline="")


def format_of(path: Path, stated: Stated) -> Format:
    """Finds the encoding, the delimiter and the header of a file."""
    with open_bytes(path) as file:
        start = file.read(4)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if not marked and not stated.encoding and b"\0" in start:
        raise unreadable(path, "it has zero bytes, as UTF-16 has")
    encoding = marked or stated.encoding or "utf-8"
    with open_text(path, encoding) as lines:
        skipped, first = 0, lines.readline()
        separator = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
        if separator:
            skipped, first = 1, lines.readline()
        given = separator[1] if separator else stated.delimiter
        delimiter = given or _delimiter(path, first, stated.columns)
    with open_text(path, encoding) as lines:
        for _ in range(skipped):
            lines.readline()
        header = _header(path, lines, delimiter)
    return Format(path, encoding, delimiter, header, skipped)


def _delimiter(path: Path, line: str, columns: Collection[str]) -> str:
    """Returns the delimiter with which the header has most of the table's columns."""
    if ".tsv" in path.suffixes[-2:]:
        return "\t"
    known = {one.casefold() for one in columns}

    def names(delimiter: str) -> int:
        fields = line.strip().split(delimiter)
        return len(known & {one.strip(' "').casefold() for one in fields})

    best = max(DELIMITERS, key=names)
    return best if names(best) else ","


def _header(path: Path, lines: Iterator[str], delimiter: str) -> tuple[str, ...]:
    try:
        found = next(
            (row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row), ()
        )
    except csv.Error as error:
        raise quote_is_open(path, 1, error) from error
    if not found:
        raise unreadable(path, "it has no header")
    return tuple(found)


def notes_on(form: Format, stated: Stated) -> list[str]:
    found = []
    if form.encoding not in ("utf-8", "utf-8-sig", stated.encoding):
        found.append(f"read as {form.encoding.upper()}, which its first bytes state")
    if form.delimiter not in (",", stated.delimiter):
        shown = {"\t": "tabs"}.get(form.delimiter, form.delimiter)
        found.append(f"values are separated by {shown}")
    return found


def unreadable(path: Path, detail: str) -> SourceError:
    return SourceError(
        f"{path} cannot be read as UTF-8 CSV ({detail}); write it again, or state encoding = ... "
        "or delimiter = ... of its table in mapping.toml."
    )


def quote_is_open(path: Path, line: int, detail: object) -> SourceError:
    return SourceError(
        f"{path}, line {line}: a quote is not closed, or stands within a quoted value ({detail}); "
        "write quotes within a quoted value twice."
    )
