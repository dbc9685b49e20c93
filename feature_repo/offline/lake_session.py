"""DuckDB sessions over the lake that a Feast repository names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from feast.repo_config import RepoConfig

from feature_repo.contract import TABLES
from feature_repo.home import resolve_home
from feature_repo.lake.duckdb_files import connect, literal
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def open_session(
    config: RepoConfig, spill: Path | None = None, sql: bool = False
) -> DuckDBPyConnection:
    """Opens a DuckDB connection that resolves relative paths from the repository's folder.

    With ``sql``, SQL can name the lake's raw tables. ``spill`` is as in ``connect``.
    """
    connection = connect(spill)
    connection.execute(f"SET file_search_path = {literal(repository_of(config))}")
    # Otherwise a table that SQL does not find may be a variable of this code.
    connection.execute("SET python_enable_replacements = false")
    if sql:
        create_lake_views(connection, config)
    return connection


def create_lake_views(connection: DuckDBPyConnection, config: RepoConfig) -> None:
    """Creates a view of each raw table of the lake: each row in its version at the watermark."""
    if not config.offline_store.home:
        return
    lake = _lake(config)
    if lake.numbers():
        state = lake.state(config.offline_store.lake_version)
        for name in state.tables.keys() & TABLES.keys():
            connection.execute(f"CREATE TEMP VIEW {name} AS {lake.known_sql(name, state)}")


def repository_of(config: RepoConfig) -> Path:
    """Returns the folder of the Feast repository; the working directory if it has none."""
    return Path(config.repo_path or ".")


def spill_root(config: RepoConfig) -> Path:
    """Returns the folder for spilled data: Clipwise's state folder, else the temporary one.

    Other Feast repositories need no state folder.
    """
    home = config.offline_store.home
    return resolve_home(home, repository_of(config)) if home else Path(tempfile.gettempdir())


def lake_state(config: RepoConfig) -> tuple[Lake, State]:
    """Returns the lake of a Feast repository, and the state that its queries read."""
    lake = _lake(config)
    return lake, lake.state(config.offline_store.lake_version)


def _lake(config: RepoConfig) -> Lake:
    return Lake(resolve_home(config.offline_store.home, repository_of(config)))
