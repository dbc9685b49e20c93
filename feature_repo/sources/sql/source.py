"""Reads a folder with a ``contract.sql`` as one batch.

Each table of the contract is a view of that name::

    SET VARIABLE timezone = 'Europe/London';
    SET VARIABLE money = 'major';

    CREATE VIEW users AS
    SELECT DISTINCT customer AS user_id, DATE '2009-12-01' AS event_timestamp
    FROM 'sales.csv' WHERE customer IS NOT NULL;

Other views are steps on the way. ``FROM 'sales.csv'`` reads every value as text, also from .gz.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.contract import TABLES, Table
from feature_repo.sources import Batch, SourceError
from feature_repo.sources.casting import contract_rows
from feature_repo.sources.files.columns import respelled
from feature_repo.sources.files.mapping import check_mapping
from feature_repo.sources.sql.columns import plan
from feature_repo.sources.sql.messages import line_of, sentence
from feature_repo.sources.sql.session import create_text_views, session
from feature_repo.sources.sql.statements import FILE, Statement, parse, words

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SETTINGS = ("timezone", "money", "nulls")


@dataclass(frozen=True)
class _Read:
    """One table of a batch."""

    rows: "pa.Table"
    rejected: "pa.Table"
    learned: str
    notes: list[str]


def read(folder: Path, progress: Callable[[str], None] = lambda name: None) -> Batch:
    """Runs the ``contract.sql`` of a folder; calls ``progress`` with the name of each table.

    Raises SourceError for SQL that does not run, for a SELECT that does not fit the contract, and
    for files that change during the read. The message names the line and the table.
    """
    path = folder / FILE
    text, statements = parse(path)
    _check_use(path, text, statements)
    before = _file_versions(folder)
    with session(folder) as connection:
        create_text_views(connection, path, text)
        for one in statements:
            _run(connection, path, one)
        settings = _settings(connection, path)
        read = {}
        for name, statement in _tables(path, statements).items():
            read[name] = _read(connection, path, TABLES[name], statement, settings)
            progress(name)
    if _file_versions(folder) != before:
        raise SourceError(f"{folder} changed while it was read; ingest again when it is complete.")
    return Batch(
        f"sql:{folder.resolve().name}",
        {name: one.rows for name, one in read.items()},
        learned={name: one.learned for name, one in read.items()},
        rejected={name: one.rejected for name, one in read.items()},
        assumed=(*(note for one in read.values() for note in one.notes), *_unread(folder, text)),
    )


def _check_use(path: Path, text: str, statements: list[Statement]) -> None:
    """Refuses a name that is neither of the contract nor used, as it may be a typing error."""
    used = [word.text.lower() for word in words(text)]
    for one in statements:
        known = _SETTINGS if one.kind == "variable" else TABLES
        if one.name.lower() in known or used.count(one.name.lower()) > 1:
            continue
        near = difflib.get_close_matches(one.name.lower(), known, n=1, cutoff=0.5)
        raise SourceError(
            f"{path}, line {one.line}: the {one.kind} {one.name} is not used; expected "
            f"{near[0] if near else ' or '.join(known)}. Correct the name, or remove it."
        )


def _tables(path: Path, statements: list[Statement]) -> dict[str, Statement]:
    views = {one.name.lower(): one for one in statements if one.kind in ("view", "table")}
    found = {name: views[name] for name in TABLES if name in views}
    if not found:
        raise SourceError(
            f"{path} defines no table of the contract; expected views named {', '.join(TABLES)}."
        )
    return found


def _run(connection: "duckdb.DuckDBPyConnection", path: Path, one: Statement) -> None:
    import duckdb

    try:
        connection.execute(one.text)
    except duckdb.Error as error:
        raise _refused(error, path, one, one.line) from error


def _kinds(connection: "duckdb.DuckDBPyConnection", statement: Statement) -> dict[str, str]:
    """Returns DuckDB's types of a view's columns, by name."""
    described = connection.execute(f"DESCRIBE {statement.name}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _rows(
    connection: "duckdb.DuckDBPyConnection", path: Path, one: Statement, selected: str
) -> "pa.Table":
    """Returns the rows of a view; an error names the line in its SELECT."""
    import duckdb

    try:
        return connection.sql(f"SELECT {selected} FROM {one.name}").to_arrow_table()
    except duckdb.Error as error:
        found, first = error, one.line
    # DuckDB keeps no lines of a view, so its SELECT runs alone to find the line.
    if one.query:
        try:
            connection.execute(one.query)
            while connection.fetchmany(10_000):
                continue
        except duckdb.Error as error:
            found, first = error, one.query_line
    raise _refused(found, path, one, first) from found


def _refused(error: Exception, path: Path, one: Statement, first: int) -> SourceError:
    title = f"the SELECT of {one.name}" if one.kind in ("view", "table") else one.name
    return SourceError(f"{path}, line {line_of(error, first)}: {title}: {sentence(error)}")


def _settings(connection: "duckdb.DuckDBPyConnection", path: Path) -> dict[str, Any]:
    """Returns the variables that hold for all tables, checked as those of a mapping are."""
    names = ", ".join(f"getvariable('{name}')" for name in _SETTINGS)
    values = connection.execute(f"SELECT {names}").fetchall()[0]
    given = {name: one for name, one in zip(_SETTINGS, values, strict=True) if one is not None}
    check_mapping(given, path)
    return given


def _read(
    connection: "duckdb.DuckDBPyConnection",
    path: Path,
    table: Table,
    statement: Statement,
    settings: Mapping[str, Any],
) -> _Read:
    place = f"{path}, line {statement.line}: the SELECT of {table.name}"
    planned, selected = plan(table, _kinds(connection, statement), settings, place)
    raw = _rows(connection, path, statement, selected)
    if raw.num_rows == 0:
        raise SourceError(f"{place} returns no rows; correct it, or remove the table.")
    planned, raw, notes = respelled(planned, raw, settings)
    rows, bad = contract_rows(planned, raw)
    return _Read(
        rows,
        _with_advice(bad),
        "assumed" if planned.assumes_learned else "stated",
        [f"{table.name}.{note}." for note in notes],
    )


def _with_advice(rejected: "pa.Table") -> "pa.Table":
    """Replaces the advice on mapping.toml in the reasons by the one on the SQL."""
    import pyarrow.compute as pc

    reasons = pc.replace_substring_regex(
        rejected["reason"],
        r'set nulls = \["([^"]*)"\] in mapping\.toml',
        rf"write nullif(..., '\1') in {FILE}",
    )
    return rejected.set_column(rejected.schema.get_field_index("reason"), "reason", reasons)


def _unread(folder: Path, text: str) -> list[str]:
    """Returns a sentence with the files that no pattern or name in the SQL reads."""
    named = [word.text for word in words(text) if word.kind in ("string_const", "identifier")]
    files = sorted(one.relative_to(folder) for one in _file_versions(folder))
    unread = [
        str(one)
        for one in files
        if one.name != FILE and not any(fnmatch(str(one), pattern) for pattern in named)
    ]
    return [f"{FILE} reads nothing from {', '.join(unread)}."] if unread else []


def _file_versions(folder: Path) -> Mapping[Path, tuple[int, int, int]]:
    """Returns size, time of change and inode of each file in the folder and below."""
    files = (one for one in folder.rglob("*") if one.is_file())
    stats = {one: one.stat() for one in files if not one.name.startswith(".")}
    return {path: (one.st_size, one.st_mtime_ns, one.st_ino) for path, one in stats.items()}
