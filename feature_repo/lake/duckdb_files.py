"""DuckDB queries on Parquet files and Arrow tables."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES, Column, Table, arrow_schema

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def connect(spill: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Opens a DuckDB connection in UTC that spills to the folder ``spill`` when memory is full.

    Without ``spill`` it never spills: DuckDB would write into the working directory.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # DuckDB's progress bar would go to standard output, among the results of commands.
    connection.execute("SET enable_progress_bar = false")
    folder = "" if spill is None else spill
    connection.execute(f"SET temp_directory = {literal(folder)}")
    return connection


def query(
    sql: str, parameters: Mapping[str, object] | None = None, **tables: "pa.Table"
) -> "pa.Table":
    """Runs a DuckDB query on Arrow tables and returns the result as an Arrow table.

    ``parameters`` are the values of ``$name`` in the query.
    """
    connection = connect()
    for name, table in tables.items():
        connection.register(name, table)
    return connection.sql(sql, params=parameters).to_arrow_table()


def parquet(files: Iterable[str], by_name: bool = False) -> str:
    """Returns a DuckDB table function that reads these files and ignores folder names.

    With ``by_name``, files may lack columns, which are null for their rows.
    """
    options = "hive_partitioning = false" + ", union_by_name = true" * by_name
    return f"read_parquet({file_list(files)}, {options})"


def file_list(files: Iterable[str]) -> str:
    """Returns a DuckDB list of exactly these files; special characters in names are escaped."""
    escaped = (re.sub(r"([*?\[])", r"[\1]", file) for file in files)
    return "[" + ", ".join(map(literal, escaped)) + "]"


def literal(value: object) -> str:
    """Returns a SQL string literal.

    >>> literal("Åsa's shop")
    "'Åsa''s shop'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Returns a SQL identifier in quotes.

    >>> quoted('5" nails')
    '"5"" nails"'
    """
    return '"' + name.replace('"', '""') + '"'


def empty_query(table: Table) -> str:
    """Returns a DuckDB query with the columns of a raw table and no rows."""
    columns = ", ".join(f"{null(column)} AS {column.name}" for column in table.columns)
    return f"SELECT * FROM (SELECT {columns} WHERE 1 = 0)"


_SQL_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}


def null(column: Column) -> str:
    """Returns DuckDB's null in the type of a contract column."""
    return f"CAST(NULL AS {_SQL_TYPES.get(column.type, 'TIMESTAMPTZ')})"


def empty(name: str) -> "pa.Table":
    """Returns an Arrow table of the contract without rows."""
    return arrow_schema(TABLES[name]).empty_table()
