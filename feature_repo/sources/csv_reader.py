"""CSV files as Arrow tables of text: compressed or not, and checked for quotes that stay open.

pyarrow parses the values. It takes the rows after an unclosed quote as text, and loses the line
feed of a line break within quotes on the border of two blocks (Apache Arrow issue 51368). So a
file with quotes is read in one block, and its rows are counted by Python's ``csv`` first.
"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.sources import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
CSV_SUFFIXES = (".csv", *(f".csv{one}" for one in COMPRESSIONS))

_DELIMITERS = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LARGEST_BLOCK = 2**31 - 1
_CHUNK = 1 << 22


def is_csv(path: Path) -> bool:
    """Returns whether the name is that of a CSV file, compressed or not."""
    return path.name.lower().endswith(CSV_SUFFIXES)


def read_csv(path: Path) -> "pa.Table":
    """Reads a CSV file with a header; every value is text, and null where the field is empty.

    The delimiter is that of the header (``delimiter_of``). Raises SourceError for a quote that is
    not closed, and pyarrow's errors for bytes that are not UTF-8 or rows of another width.
    """
    import pyarrow as pa
    import pyarrow.csv

    delimiter, first = _dialect(path)
    if not first and not _has_quote(path):
        with _opened(path) as file:
            return _parsed(file, delimiter, _header(path, delimiter), _CHUNK)
    with _opened(path) as file:
        data = _utf8(file.read())[first:]
    if len(data) >= _LARGEST_BLOCK:
        raise SourceError(
            f"{path} has quotes and more than 2 GiB; write it as several files in a folder."
        )
    names, rows = _counted(path, data, delimiter)
    table = _parsed(pa.BufferReader(data), delimiter, names, len(data) + 1)
    if table.num_rows != rows:
        raise SourceError(
            f"{path} has {rows:,} rows, but {table.num_rows:,} were read; check its quotes."
        )
    return table


def delimiter_of(path: Path) -> str:
    """Returns the delimiter of a CSV file: the only one in its header, else a comma.

    A first line such as ``sep=;``, which spreadsheets write, states it.
    """
    return _dialect(path)[0]


def _dialect(path: Path) -> tuple[str, int]:
    """Returns the delimiter, and the number of bytes before the header."""
    with _opened(path) as file:
        data = _utf8(file.read(_CHUNK))
    line = data.split(b"\n", 1)[0]
    text = line.decode("utf-8", "replace").removeprefix("\ufeff").strip("\r")
    if text.lower().startswith("sep=") and text[4:] in _DELIMITERS:
        return text[4:], len(line) + 1
    # The mark of a recoded file is not in its text.
    found = [one for one in _DELIMITERS if one in text]
    return (found[0] if len(found) == 1 else ","), 0


def _opened(path: Path) -> "pa.NativeFile":
    import pyarrow as pa

    return pa.input_stream(str(path), compression=COMPRESSIONS.get(path.suffix.lower()))


def _utf8(data: bytes) -> bytes:
    """Recodes a file with the byte order mark of UTF-16, as spreadsheets write it."""
    encoding = _BYTE_ORDER_MARKS.get(data[:2])
    return data if encoding is None else data.decode(encoding, "replace").encode()


def _has_quote(path: Path) -> bool:
    """Returns whether the file has a quote, or may have one in UTF-16."""
    with _opened(path) as file:
        chunk = file.read(_CHUNK)
        if chunk[:2] in _BYTE_ORDER_MARKS:
            return True
        while chunk:
            if b'"' in chunk:
                return True
            chunk = file.read(_CHUNK)
    return False


def _header(path: Path, delimiter: str) -> list[str]:
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        return next(csv.reader(text, delimiter=delimiter))


def _counted(path: Path, data: bytes, delimiter: str) -> tuple[list[str], int]:
    """Returns the header and the number of rows. Raises SourceError for an open quote."""
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    number, begins = 0, 1
    previous = csv.field_size_limit(len(data) + 1)
    try:
        names = next(reader)
        begins = reader.line_num + 1
        for row in reader:
            number += bool(row)
            begins = reader.line_num + 1
    except csv.Error as error:
        where = f"row {number + 1}, from line {begins}" if begins > 1 else "the header"
        raise SourceError(
            f"{path}, {where}: a quoted field does not end as expected ({error}). Close the "
            'quote, and write a quote within a field twice (""); then ingest again.'
        ) from error
    finally:
        csv.field_size_limit(previous)
    return names, number


def _parsed(file: "pa.NativeFile", delimiter: str, names: list[str], block: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv

    return pa.csv.read_csv(
        file,
        # With one thread a parse error names its row.
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=block),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    )
