"""DuckDB sessions over the lake that a Feast repository names."""

import tempfile
from pathlib import Path
from typing import Any

from feast.repo_config import RepoConfig

from feature_repo.contract import TABLES
from feature_repo.home import resolve_home
from feature_repo.lake.duckdb_files import connect
from feature_repo.lake.reader import Lake


def connected(config: RepoConfig, spill: Path | None = None, sql: bool = False):
    """A DuckDB connection on which ``sql`` names files as the repository does, and the tables."""
    connection = connect(spill)
    connection.execute(f"SET file_search_path = '{quoted(config.repo_path)}'")
    if sql:
        name_tables(connection, config)
    return connection


def name_tables(connection: Any, config: RepoConfig) -> None:
    """Let SQL name the lake's raw tables, each row in the version that counts at the watermark."""
    if not config.offline_store.home:
        return
    lake = Lake(resolve_home(config.offline_store.home, Path(config.repo_path)))
    if lake.numbers():
        state = lake.state(config.offline_store.lake_version)
        for name in state.tables.keys() & TABLES.keys():
            connection.execute(f"CREATE TEMP VIEW {name} AS {lake.known_sql(name, state)}")


def state_folder(config: RepoConfig) -> Path:
    """Clipwise's folder; another repository need not have one, and spills where all do."""
    home = config.offline_store.home
    return resolve_home(home, Path(config.repo_path)) if home else Path(tempfile.gettempdir())


def quoted(text: object) -> str:
    return str(text).replace("'", "''")


def lake_state(config: RepoConfig):
    """The lake that a Feast repository is configured for, and the state that its queries read."""
    settings = config.offline_store
    lake = Lake(resolve_home(settings.home, Path(config.repo_path)))
    return lake, lake.state(settings.lake_version)
