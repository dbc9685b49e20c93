"""CSV files, plain or compressed: every value is a text or null.

Arrow reads the values. It accepts a quote that is never closed, and loses a byte where a line break
within quotes lies on the border of two blocks. So a file with fewer rows than lines is also read by
Python's strict reader, and Arrow's blocks never end within a line break.
"""

import codecs
import contextlib
import csv
import lzma
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.sources import SourceError
from feature_repo.sources.files.csv_format import (
    Format,
    Stated,
    format_of,
    notes_on,
    open_bytes,
    open_text,
    quote_is_open,
    unreadable,
)

if TYPE_CHECKING:
    import pyarrow as pa

_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


def read_csv(path: Path, stated: Stated) -> "tuple[pa.Table, list[str]]":
    """Reads a CSV file; returns its values, and notes on a format that is not UTF-8 with commas.

    Raises SourceError for a file that is damaged or in another encoding. Also for a quote that is
    not closed, and for a row with too few or too many values, with its line.
    """
    try:
        form = format_of(path, stated)
        rows = _rows(form)
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from error
    except _DAMAGED as error:
        raise unreadable(path, str(error) or "it ends too early") from error
    return rows, notes_on(form, stated)


def _check(form: Format) -> int:
    """Returns the number of rows as Python's strict reader counts them.

    Raises SourceError with the line for an open quote and for a row of another length.
    """
    rows, line, width = 0, form.skipped + 1, len(form.header)
    with open_text(form.path, form.encoding) as lines:
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
            raise quote_is_open(form.path, line, error) from error
    return rows - 1


def _check_lines(form: Format, fields: list[str], line: int) -> None:
    """Refuses a value of several lines, one of which looks like a row of the file."""
    shapes = [_shape(field.splitlines()[0]) if field else "" for field in fields]
    for field in fields:
        for inner in field.splitlines()[1:]:
            values = inner.split(form.delimiter)
            alike = zip(map(_shape, values), shapes, strict=False)
            if len(values) == len(fields) and any(a == b and "0" in a for a, b in alike):
                raise quote_is_open(form.path, line, "a value holds whole rows")


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

    def __init__(self, form: Format) -> None:
        self._file = open_bytes(form.path)
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


def _rows(form: Format) -> "pa.Table":
    """Reads the values with Arrow. Unless each line is a row, the strict reader checks the file."""
    import pyarrow as pa

    with contextlib.closing(_Blocks(form)) as blocks:
        try:
            rows = _arrow(form, blocks)
        except pa.ArrowInvalid as error:
            # The strict reader names the line of the same fault.
            _check(form)
            raise unreadable(form.path, str(error).splitlines()[0].rstrip(".")) from error
    lines = blocks.lines + (not blocks.end.endswith(b"\n"))
    if lines != rows.num_rows + 1 + form.skipped or not _is_closed(blocks.last_line, form):
        count = _check(form)
        if count != rows.num_rows:
            detail = f"it has {count:,} rows, of which {rows.num_rows:,} were read"
            raise unreadable(form.path, detail)
    return rows


def _is_closed(line: str, form: Format) -> bool:
    try:
        return bool(list(csv.reader([line], delimiter=form.delimiter, strict=True)))
    except csv.Error:
        return False


def _arrow(form: Format, blocks: _Blocks) -> "pa.Table":
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
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
