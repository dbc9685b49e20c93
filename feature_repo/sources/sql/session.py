"""A DuckDB session for a foreign folder: no network, no file outside it, bounded memory."""

import contextlib
import csv
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.lake.duckdb_files import connect, literal, quoted
from feature_repo.sources import SourceError
from feature_repo.sources.sql.messages import sentence
from feature_repo.sources.sql.statements import FILE, Word, arguments, words

if TYPE_CHECKING:
    import duckdb

MEMORY = "2GB"
"""Memory of the session; more than that is spilled to a temporary folder."""

CSV = re.compile(r"\.(csv|tsv|psv|txt)(\.(gz|zst))?$", re.IGNORECASE)
"""Names of files whose values are read as text."""

_SEPARATORS = ",;\t|"
# With these, DuckDB guesses nothing: each value is text, and a line with another shape is an error.
_STRICT = (
    "auto_detect = false, header = true, quote = '\"', escape = '\"', nullstr = '', "
    "null_padding = false, ignore_errors = false, strict_mode = true"
)


@contextlib.contextmanager
def session(folder: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """Opens DuckDB with ``folder`` as the working directory and the only place of files.

    The working directory belongs to the process, so only one session can be open at a time.
    """
    resolved = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="clipwise-sql-") as spill:
        connection = connect(Path(spill))
        for name, value in (
            ("memory_limit", literal(MEMORY)),
            ("python_enable_replacements", "false"),
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
            ("allow_community_extensions", "false"),
            ("allowed_directories", f"[{literal(f'{resolved}/')}]"),
            ("enable_external_access", "false"),
            ("lock_configuration", "true"),
        ):
            connection.execute(f"SET {name} = {value}")
        with contextlib.closing(connection), contextlib.chdir(resolved):
            yield connection


def create_text_views(connection: "duckdb.DuckDBPyConnection", path: Path, text: str) -> None:
    """Lets each CSV file that the SQL names stand for its rows, with every value as text.

    A view has the name of the file, so ``FROM 'sales.csv'`` reads it. Raises SourceError for a
    missing file, a header that names no columns, and a ``read_csv`` that would guess types.
    """
    found = words(text)
    _check_read_csv(path, found)
    done: set[str] = set()
    for before, word in zip([Word("", "", 0), *found], found, strict=False):
        is_name = word.kind in ("string_const", "identifier") and CSV.search(word.text)
        reads = before.text.upper() in ("FROM", "JOIN")
        if not is_name or word.text in done or before.text in ("(", "["):
            continue
        if reads or (before.text == "," and Path(word.text).exists()):
            done.add(word.text)
            try:
                create_text_view(connection, word.text)
            except SourceError as error:
                raise SourceError(f"{path}, line {word.line}: {error}") from error


def create_text_view(connection: "duckdb.DuckDBPyConnection", name: str) -> None:
    """Creates a view with the name of a CSV file in the working directory, or of a pattern."""
    import duckdb

    try:
        columns, separator = _header(connection, name)
        kinds = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
        connection.execute(
            f"CREATE VIEW {quoted(name)} AS SELECT * FROM read_csv({literal(name)}, {_STRICT}, "
            f"delim = {literal(separator)}, columns = {{{kinds}}})"
        )
    except duckdb.Error as error:
        raise SourceError(sentence(error)) from error


def _header(connection: "duckdb.DuckDBPyConnection", name: str) -> tuple[list[str], str]:
    """Returns the columns and the separator that every file of a name or pattern starts with."""
    files = [file for (file,) in connection.execute(f"FROM glob({literal(name)})").fetchall()]
    if not files:
        there = sorted(one.name for one in Path().iterdir() if one.name != FILE)
        raise SourceError(
            f"{name} is not in the folder, which has {', '.join(there) or 'no files'}; correct the "
            "name, or put the file there."
        )
    first, *others = (_first_line(connection, file) for file in sorted(files))
    if any(other != first for other in others):
        raise SourceError(f"The files {name} have different headers; name each of them alone.")
    separator = _separator(name, first)
    columns = next(csv.reader([first], delimiter=separator), [])
    columns = [column or f"column{number}" for number, column in enumerate(columns)]
    lower = [column.lower() for column in columns]
    twice = next((one for one in columns if lower.count(one.lower()) > 1), None)
    if twice or not columns:
        fault = f"has the column {twice} more than once" if twice else "has no header"
        raise SourceError(f"{name} {fault}; correct its first line.")
    return columns, separator


def _first_line(connection: "duckdb.DuckDBPyConnection", file: str) -> str:
    row = connection.execute(
        f"SELECT line FROM read_csv({literal(file)}, auto_detect = false, header = false, "
        "quote = '', escape = '', delim = '\x01', nullstr = '', strict_mode = false, "
        "columns = {'line': 'VARCHAR'}) LIMIT 1"
    ).fetchone()
    return str(row[0]) if row and row[0] else ""


def _separator(name: str, header: str) -> str:
    """Returns the separator that occurs most often in the header, outside quotes."""
    if re.match(r"sep=.$", header, re.IGNORECASE):
        raise SourceError(
            f"{name} starts with {header!r}, which is no header; remove that line, or use "
            f"read_csv(..., delim = '{header[-1]}', skip = 1, header = true, all_varchar = true)."
        )
    outside = re.sub(r'"[^"]*"', "", header)
    counts = {one: outside.count(one) for one in _SEPARATORS}
    most = max(counts.values())
    found = [one for one, count in counts.items() if count == most]
    if most and len(found) > 1:
        raise SourceError(
            f"{name} may be separated by {' or '.join(map(repr, found))}; use read_csv(..., "
            "delim = ',', header = true, skip = 0, all_varchar = true)."
        )
    return found[0]


def _check_read_csv(path: Path, found: list[Word]) -> None:
    for index, word in enumerate(found[:-1]):
        if word.text.lower() not in ("read_csv", "read_csv_auto") or found[index + 1].text != "(":
            continue
        given = {one.text.lower() for one in arguments(found, index + 1)}
        if not {"all_varchar", "skip"} <= given:
            raise SourceError(
                f"{path}, line {word.line}: {word.text} guesses types and where the table starts, "
                "so that 007 becomes 7 and lines can be lost. Write FROM 'file.csv' for text, or "
                "add all_varchar = true, header = true, skip = 0."
            )
