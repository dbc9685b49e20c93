"""CSV files, plain or compressed: every value is a text or null.

Arrow reads the values. It accepts a quote that is never closed, and loses a byte where a line break
within quotes lies on the border of two blocks. So a file with fewer rows than lines is also read by
Python's strict reader, and Arrow's blocks never end within a line break.
"""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from feature_repo.sources import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

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
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Stated:
    """Facts on a table's files before the read: its columns, and the format in the mapping."""

    columns: Collection[str] = ()
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class _Format:
    """The format of a file. ``skipped`` is the number of lines before the header."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    skipped: int


def read_csv(path: Path, stated: Stated) -> "tuple[pa.Table, list[str]]":
    """Reads a CSV file; returns its values, and notes on a format that is not UTF-8 with commas.

    Raises SourceError for a file that is damaged or in another encoding. Also for a quote that is
    not closed, and for a row with too few or too many values, with its line.
    """
    try:
        form = _format(path, stated)
        rows = _rows(form)
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from error
    except _DAMAGED as error:
        raise _unreadable(path, str(error) or "it ends too early") from error
    return rows, _notes(form, stated)


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        import pyarrow as pa

        return cast("IO[bytes]", pa.input_stream(str(path), compression="zstd"))
    return cast("IO[bytes]", _OPENERS.get(suffix, open)(path, "rb"))


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(cast("io.BufferedReader", _open(path)), encoding, newline="")


def _format(path: Path, stated: Stated) -> _Format:
    """Finds the encoding, the delimiter and the header of a file."""
    with _open(path) as file:
        start = file.read(4)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if not marked and not stated.encoding and b"\0" in start:
        raise _unreadable(path, "it has zero bytes, as UTF-16 has")
    encoding = marked or stated.encoding or "utf-8"
    with _text(path, encoding) as lines:
        skipped, first = 0, lines.readline()
        separator = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
        if separator:
            skipped, first = 1, lines.readline()
        given = separator[1] if separator else stated.delimiter
        delimiter = given or _delimiter(path, first, stated.columns)
    with _text(path, encoding) as lines:
        for _ in range(skipped):
            lines.readline()
        header = _header(path, lines, delimiter)
    return _Format(path, encoding, delimiter, header, skipped)


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
        raise _quote_is_open(path, 1, error) from error
    if not found:
        raise _unreadable(path, "it has no header")
    return tuple(found)


def _check(form: _Format) -> int:
    """Returns the number of rows as Python's strict reader counts them.

    Raises SourceError with the line for an open quote and for a row of another length.
    """
    rows, line, width = 0, form.skipped + 1, len(form.header)
    with _text(form.path, form.encoding) as lines:
        for _ in range(form.skipped):
            lines.readline()
        reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
        try:
            for fields in reader:
                if fields:
                    rows += 1
                    if len(fields) != width:
                        raise SourceError(
                            f"{form.path}, line {line}: expected {width} values as in the header, "
                            f"found {len(fields)}; write it again, then ingest."
                        )
                    if line != reader.line_num + form.skipped:
                        _check_lines(form, fields, line)
                line = reader.line_num + form.skipped + 1
        except csv.Error as error:
            raise _quote_is_open(form.path, line, error) from error
    return rows - 1


def _check_lines(form: _Format, fields: list[str], line: int) -> None:
    """Refuses a value of several lines, one of which looks like a row of the file."""
    shapes = [_shape(field.splitlines()[0]) if field else "" for field in fields]
    for field in fields:
        for inner in field.splitlines()[1:]:
            values = inner.split(form.delimiter)
            alike = zip(map(_shape, values), shapes, strict=False)
            if len(values) == len(fields) and any(a == b and "0" in a for a, b in alike):
                raise _quote_is_open(form.path, line, "a value holds whole rows")


def _shape(value: str) -> str:
    """Replaces the digits of a value by 0.

    >>> _shape("2025-06-30")
    '0000-00-00'
    """
    return re.sub(r"\d", "0", value)


class _Blocks:
    """A file as UTF-8, in blocks that do not end between the bytes of a CRLF.

    Arrow takes a line feed at the start of a block for the end of a CRLF in the block before, also
    within quotes, and drops it (apache/arrow issue 51368).
    """

    def __init__(self, form: _Format) -> None:
        self._file = _open(form.path)
        self.lines = 0
        self.end = b""
        # Arrow checks UTF-8 itself. In other encodings a byte becomes at most three.
        plain = form.encoding.startswith("utf-8")
        self._decoder = None if plain else codecs.getincrementaldecoder(form.encoding)()
        self._kept = b""
        self.closed = False

    def read(self, size: int) -> bytes:
        """Returns at most ``size`` bytes, and none at the end of the file."""
        more = self._more(size - len(self._kept))
        block, self._kept = self._kept + more, b""
        if more and len(block) > 1 and block.endswith(b"\r"):
            block, self._kept = block[:-1], b"\r"
        self.lines += block.count(b"\n")
        self.end = block or self.end
        return block

    @property
    def last_line(self) -> str:
        """The last line, or a part of it, after the file was read."""
        return self.end.rstrip().rpartition(b"\n")[2].decode(errors="replace")

    def _more(self, size: int) -> bytes:
        if self._decoder is None:
            return self._file.read(size)
        while True:
            read = self._file.read(max(size // 3, 1))
            text = self._decoder.decode(read, final=not read)
            if text or not read:
                return text.encode()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self.closed = True


def _rows(form: _Format) -> "pa.Table":
    """Reads the values with Arrow. Unless each line is a row, the strict reader checks the file."""
    import pyarrow as pa

    blocks = _Blocks(form)
    try:
        rows = _arrow(form, blocks)
    except pa.ArrowInvalid as error:
        # The strict reader names the line of the same fault.
        _check(form)
        raise _unreadable(form.path, str(error).splitlines()[0].rstrip(".")) from error
    lines = blocks.lines + (not blocks.end.endswith(b"\n"))
    if lines != rows.num_rows + 1 + form.skipped or not _is_closed(blocks.last_line, form):
        count = _check(form)
        if count != rows.num_rows:
            detail = f"it has {count:,} rows, of which {rows.num_rows:,} were read"
            raise _unreadable(form.path, detail)
    return rows


def _is_closed(line: str, form: _Format) -> bool:
    try:
        return bool(list(csv.reader([line], delimiter=form.delimiter, strict=True)))
    except csv.Error:
        return False


def _arrow(form: _Format, blocks: _Blocks) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv

    return pa.csv.read_csv(
        blocks,
        # With one thread, blocks are read in order and an error names its row.
        read_options=pa.csv.ReadOptions(use_threads=False, skip_rows=form.skipped),
        parse_options=pa.csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(form.header, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    )


def _notes(form: _Format, stated: Stated) -> list[str]:
    found = []
    if form.encoding not in ("utf-8", "utf-8-sig", stated.encoding):
        found.append(f"read as {form.encoding.upper()}, which its first bytes state")
    if form.delimiter not in (",", stated.delimiter):
        shown = {"\t": "tabs"}.get(form.delimiter, form.delimiter)
        found.append(f"values are separated by {shown}")
    return found


def _unreadable(path: Path, detail: str) -> SourceError:
    return SourceError(
        f"{path} cannot be read as UTF-8 CSV ({detail}); write it again, or state encoding = ... "
        "or delimiter = ... of its table in mapping.toml."
    )


def _quote_is_open(path: Path, line: int, detail: object) -> SourceError:
    return SourceError(
        f"{path}, line {line}: a quote is not closed, or stands within a quoted value ({detail}); "
        "write quotes within a quoted value twice."
    )


def _undecodable(path: Path, error: UnicodeDecodeError) -> SourceError:
    byte = f"0x{error.object[error.start]:02X}"
    line = _bad_line(path)
    place = f"{path}, line {line}" if line else str(path)
    return SourceError(
        f"{place}: expected {error.encoding.upper()}, found the byte {byte}; state the encoding of "
        'the file in mapping.toml, as in encoding = "cp1252".'
    )


def _bad_line(path: Path) -> int | None:
    """Returns the number of the first line that is not UTF-8."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
