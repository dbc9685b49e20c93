"""DuckDB over files and Arrow tables."""

import re
from collections.abc import Iterable
from pathlib import Path

from feature_repo.contract import TABLES, Table, arrow_schema


def connect(spill: Path | None = None):
    """A DuckDB connection that speaks UTC and writes what memory cannot hold to ``spill`` alone.

    Without it nothing is spilled: DuckDB would write into the folder that the command runs in.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # Its own bar would go to standard output, into what commands answer.
    connection.execute("SET enable_progress_bar = false")
    folder = "" if spill is None else str(spill).replace("'", "''")
    connection.execute(f"SET temp_directory = '{folder}'")
    return connection


def query(sql: str, **tables):
    """The result of a DuckDB query over Arrow tables, as an Arrow table."""
    connection = connect()
    for name, table in tables.items():
        connection.register(name, table)
    return connection.sql(sql).to_arrow_table()


def parquet(files: Iterable[str]) -> str:
    """The DuckDB table function that reads these files without looking at folder names."""
    return f"read_parquet({file_list(files)}, hive_partitioning = false)"


def file_list(files: Iterable[str]) -> str:
    """A DuckDB list of these very files, whatever is in their names."""
    literal = (re.sub(r"([*?\[])", r"[\1]", file).replace("'", "''") for file in files)
    return "[" + ", ".join(f"'{file}'" for file in literal) + "]"


def empty_query(table: Table) -> str:
    """A DuckDB query with the columns of a raw table and no rows."""
    types = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}
    columns = ", ".join(
        f"CAST(NULL AS {types.get(column.type, 'TIMESTAMPTZ')}) AS {column.name}"
        for column in table.columns
    )
    return f"SELECT * FROM (SELECT {columns} WHERE 1 = 0)"


def empty(name: str):
    """An empty Arrow table of the contract."""
    return arrow_schema(TABLES[name]).empty_table()
