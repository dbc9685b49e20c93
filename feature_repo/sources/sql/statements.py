"""Statements and words of a ``contract.sql``, each with its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from feature_repo.sources import SourceError
from feature_repo.sources.sql.messages import line_of, sentence

FILE = "contract.sql"

_NAME = r'"(?:[^"]|"")+"|\w+'
_CREATE = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+)?(?P<kind>VIEW|TABLE|MACRO|FUNCTION)\s+"
    rf"(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_NAME})\s*(?P<body>AS\s+)?",
    re.IGNORECASE,
)
_VARIABLE = re.compile(rf"SET\s+VARIABLE\s+(?P<name>{_NAME})", re.IGNORECASE)
_QUERY = re.compile(r"(SELECT|FROM|WITH|VALUES)\b", re.IGNORECASE)
_EXPECTED = "CREATE VIEW, CREATE TABLE, CREATE MACRO or SET VARIABLE"


@dataclass(frozen=True)
class Statement:
    """One statement: its text, the line of its first word, and the name that it defines.

    ``kind`` is view, table, macro or variable. ``query`` is the SELECT of a view and ``query_line``
    the line of its first word; of other statements the query is None.
    """

    kind: str
    name: str
    text: str
    line: int
    query: str | None = None
    query_line: int = 0


@dataclass(frozen=True)
class Word:
    """A word of the file: its kind as DuckDB names it, its text without quotes, its line."""

    kind: str
    text: str
    line: int


def parse(path: Path) -> tuple[str, list[Statement]]:
    """Reads a ``contract.sql``; returns its text and its statements in order.

    Raises SourceError for a file that is missing or not SQL, for a statement of another kind, and
    for a name that is defined twice.
    """
    import duckdb

    text = _read(path)
    try:
        parts = duckdb.extract_statements(text)
    except duckdb.Error as error:
        line = line_of(error, 1 + text[: len(text) - len(text.lstrip())].count("\n"))
        raise SourceError(f"{path}, line {line}: {sentence(error)}") from error
    statements, end = [], 0
    for part in parts:
        start = text.index(part.query, end)
        end = start + len(part.query)
        statements.append(_statement(path, part.query, text.count("\n", 0, start) + 1))
    _check_names(path, statements)
    return text, statements


def words(text: str) -> list[Word]:
    """Returns the words of SQL without its comments."""
    import duckdb

    tokens = [(place, str(kind).rpartition(".")[2]) for place, kind in duckdb.tokenize(text)]
    found = []
    for (start, kind), (end, _) in pairwise([*tokens, (len(text), "")]):
        if kind != "comment":
            line = text.count("\n", 0, start) + 1
            found.append(Word(kind, _unquoted(text[start:end].strip()), line))
    return found


def arguments(found: list[Word], first: int) -> Iterator[Word]:
    """Yields the words within the brackets that open at the index ``first``."""
    depth = 0
    for word in found[first:]:
        if word.kind == "operator":
            depth += (word.text == "(") - (word.text == ")")
        if depth == 0:
            return
        yield word


def _read(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        raise SourceError(f"Expected a folder with a {FILE}, but {folder} is no folder.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceError(
            f"{folder} has no {FILE}; write a draft of it from the files that are there by "
            f"`clipwise ingest --source sql --init {folder}`."
        ) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    return text


def _statement(path: Path, text: str, line: int) -> Statement:
    variable, created = _VARIABLE.match(text), _CREATE.match(text)
    if variable:
        return Statement("variable", _unquoted(variable["name"]), text, line)
    if not created:
        raise SourceError(
            f"{path}, line {line}: expected {_EXPECTED}, got {' '.join(text.split()[:3])!r}."
            + " Name its table, as in CREATE VIEW events AS SELECT ..." * bool(_QUERY.match(text))
        )
    kind, name = created["kind"].lower(), _unquoted(created["name"])
    if kind == "view" and created["body"]:
        query_line = line + text.count("\n", 0, created.end())
        return Statement(kind, name, text, line, text[created.end() :], query_line)
    return Statement(kind, name, text, line)


def _check_names(path: Path, statements: list[Statement]) -> None:
    seen: dict[tuple[bool, str], int] = {}
    for one in statements:
        key = (one.kind == "variable", one.name.lower())
        if key in seen:
            raise SourceError(
                f"{path}, line {one.line}: {one.name} is defined at line {seen[key]} already; "
                "keep one of them."
            )
        seen[key] = one.line


def _unquoted(text: str) -> str:
    """Returns a name or a text without its quotes."""
    for quote in ("'", '"'):
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text[1:-1].replace(quote * 2, quote)
    return text
