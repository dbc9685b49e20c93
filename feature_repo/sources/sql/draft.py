"""A first ``contract.sql`` for a folder, from the names and first values of its files.

Everything in it is a guess, so the views are comments until a person has read them.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, Column, Table
from feature_repo.lake.duckdb_files import literal, quoted
from feature_repo.sources import SourceError
from feature_repo.sources.sql.guesses import UNKNOWN, expression, match
from feature_repo.sources.sql.messages import sentence
from feature_repo.sources.sql.session import CSV, create_text_view, session
from feature_repo.sources.sql.statements import FILE, words

if TYPE_CHECKING:
    import duckdb

_OTHER = re.compile(r"\.(parquet|json|ndjson|jsonl)(\.(gz|zst))?$", re.IGNORECASE)
_EXAMPLES = 3
_WIDTH = 40

# The columns of which a file needs one of each group to be the origin of a table.
_ANCHORS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "users": (("user_id",),),
    "products": (("product_id",),),
    "coupons": (("coupon_id", "campaign_id"),),
    "coupon_products": (("coupon_id",), ("product_id",)),
    "coupon_terms": (("coupon_id",), ("total_limit", "max_discount", "placements")),
    "product_terms": (("product_id",), ("stock", "unit_cost")),
    "exposures": (("user_id",), ("campaign_id",)),
    "events": (("user_id", "basket_id"), ("product_id",)),
    "redemptions": (("user_id",), ("coupon_id",)),
}

_TOP = f"""\
-- A draft of {FILE}. The files and their first values are listed below, then a view for each
-- table of the contract. Each view is a guess: replace every {UNKNOWN}, correct the rest, and
-- remove the comment marks in front of it. Tables that you do not have can be left out.
-- Then run: clipwise ingest --source sql --path FOLDER

-- The zone of times and days that name none, and the unit of money ('minor': 350, 'major': 3.50).
-- SET VARIABLE timezone = 'Europe/Paris';
-- SET VARIABLE money = 'major';
"""


@dataclass(frozen=True)
class _File:
    """A file of the folder: the first values of each column, or the reason it cannot be read."""

    name: str
    columns: Mapping[str, Sequence[str]]
    fault: str | None = None


def write_draft(folder: Path) -> Path:
    """Writes a draft of ``contract.sql`` into a folder and returns its path.

    Raises SourceError if the folder is missing, has no data files, or has a ``contract.sql``.
    """
    path = folder / FILE
    if not folder.is_dir():
        raise SourceError(f"Expected a folder of data files, but {folder} is no folder.")
    if path.exists():
        raise SourceError(f"{path} exists already and is kept; move it away for a new draft.")
    files = _files(folder)
    if not files:
        raise SourceError(
            f"Expected CSV, Parquet or JSON files in {folder}, found none; put them there."
        )
    blocks = [_TOP, *map(_described, files), *(_view(table, files) for table in TABLES.values())]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def _files(folder: Path) -> list[_File]:
    found = (one.relative_to(folder) for one in sorted(folder.rglob("*")) if one.is_file())
    names = [str(one) for one in found if not any(part[0] in "._" for part in one.parts)]
    with session(folder) as connection:
        return [_file(connection, name) for name in names if CSV.search(name) or _is_data(name)]


def _is_data(name: str) -> bool:
    return bool(_OTHER.search(name) or re.search(r"\.xlsx?$", name, re.IGNORECASE))


def _file(connection: "duckdb.DuckDBPyConnection", name: str) -> _File:
    import duckdb

    try:
        if CSV.search(name):
            create_text_view(connection, name)
        rows = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {_name(name)} LIMIT 100")
        names = [one[0] for one in rows.description]
        values = rows.fetchall()
    except SourceError as error:
        return _File(name, {}, str(error))
    except duckdb.Error as error:
        return _File(name, {}, sentence(error))
    return _File(name, {one: _examples(values, at) for at, one in enumerate(names)})


def _examples(rows: Sequence[Sequence[str | None]], at: int) -> list[str]:
    """Returns the first different values of a column that are not null."""
    values = (row[at] for row in rows)
    return list(dict.fromkeys(value for value in values if value))[:_EXAMPLES]


def _described(file: _File) -> str:
    lines = [f"-- {_printable(file.name)}"]
    if file.fault:
        return f"{lines[0]}: {_printable(file.fault, 400)}\n"
    width = min(max((len(name) for name in file.columns), default=0), _WIDTH)
    for name, values in file.columns.items():
        shown = ", ".join(_printable(value) for value in values) or "(null)"
        lines.append(f"--     {_printable(name):{width}}  {shown}".rstrip())
    return "\n".join(lines) + "\n"


def _printable(text: str, width: int = _WIDTH) -> str:
    """Returns text on one line, at most ``width`` characters, with control characters escaped."""
    shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return shown if len(shown) <= width else f"{shown[: width - 3]}..."


def _view(table: Table, files: Sequence[_File]) -> str:
    """Returns the view of a table as comments, from the file that has most of its columns."""
    title = _comment(f"{table.name}: {table.meaning}")
    best = max(files, key=lambda file: _fit(table, file))
    if not _fit(table, best):
        needed = ", ".join(_needed(table))
        return f"{title}\n{_comment(f'No file seems to have it. It needs at least {needed}.')}\n"
    matched = match(table, best.columns)
    body = "\n".join(f"-- {line}" for line in _select(table, best, matched))
    others = [one for one in table.column_names if one not in {*matched, *_needed(table)}]
    more = _comment(f"More columns: {', '.join(others)}.")
    return f"{title}\n{body}\n{more}\n"


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="-- ", subsequent_indent="-- ")


def _fit(table: Table, file: _File) -> int:
    """Counts the columns of a table that a file may have; 0 if it lacks those that make it one."""
    matched = match(table, file.columns)
    complete = all(any(one in matched for one in group) for group in _ANCHORS[table.name])
    is_named_so = Path(file.name).name.lower().startswith(table.name[:-1])
    return len(matched) + is_named_so if complete else 0


def _needed(table: Table) -> list[str]:
    return [
        column.name
        for column in table.columns
        if not column.nullable and column.name != "created_timestamp"
    ]


def _select(table: Table, file: _File, matched: Mapping[str, str]) -> Iterator[str]:
    wanted = [one for one in table.columns if one.name in {*matched, *_needed(table)}]
    is_described_once = table.name in ("users", "products")
    yield f"CREATE VIEW {table.name} AS"
    yield "SELECT" if is_described_once or table.name == "events" else "SELECT DISTINCT"
    for column in wanted:
        value = _value(column, file, matched)
        if is_described_once and column.name not in table.key and value != UNKNOWN:
            value = f"{'min' if column.type == 'timestamp' else 'max'}({value})"
        named = value if value == column.name else f"{value} AS {column.name}"
        comma = "," * (column is not wanted[-1])
        yield f"    {named}{comma}  -- {column.meaning.split('. ')[0].rstrip('.')}"
    yield f"FROM {literal(file.name)}" + ";" * (not is_described_once)
    if is_described_once:
        yield f"WHERE {_name(matched[table.key[0]])} IS NOT NULL GROUP BY {table.key[0]};"


def _value(column: Column, file: _File, matched: Mapping[str, str]) -> str:
    if column.name in matched:
        origin = matched[column.name]
        sql = expression(column, _name(origin), file.columns[origin])
        if "price" in origin.lower() and column.name == "amount" and "quantity" in matched:
            return f"CAST({_name(matched['quantity'])} AS DECIMAL(18, 4)) * {sql}"
        return sql
    if column.name == "event_id":
        basket = f"{_name(matched['basket_id'])}, " if "basket_id" in matched else ""
        # A row keeps its number while its file only grows.
        return f"concat_ws('-', {basket}row_number() OVER ())"
    if column.name == "event_type":
        return "'purchase'"
    return UNKNOWN


def _name(name: str) -> str:
    """Returns a column or file as a name in SQL, in quotes unless it is a plain word."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and words(name)[0].kind == "identifier":
        return name
    return quoted(name)
