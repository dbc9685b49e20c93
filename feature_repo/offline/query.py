"""Reading Feast sources on DuckDB: the lake's published views in one state, or plain files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.lake.duckdb_files import file_list, parquet
from feature_repo.offline.lake_session import connected, lake_state, quoted, state_folder
from feature_repo.offline.spill import LIBRARIES, bytes_of, spill_folder
from feature_repo.publication.publish import published
from feature_repo.publication.queries import assembling_query
from feature_repo.views import LAKE


def in_lake(source: DataSource) -> bool:
    """Whether a source names a view that the lake publishes."""
    return isinstance(source, FileSource) and source.path.startswith(LAKE)


def instant_of(column: str, relation: str = "") -> str:
    """A timestamp column as an instant; pandas writes nanoseconds, which do not compare."""
    return f'CAST({relation}{"." if relation else ""}"{column}" AS TIMESTAMPTZ)'


def learned_of(source: FileSource, relation: str = "") -> str:
    """When a row was learned: when it happened, where its source does not say."""
    happened = instant_of(source.timestamp_field, relation)
    return f"coalesce({instant_of(source.created_timestamp_column, relation)}, {happened})"


def newest_of_ties(key: str, source: FileSource, columns: Sequence[str]) -> str:
    """A clause that keeps one row ``f`` a key, of those with one instant: the one learned last.

    Then the values decide, greatest first in the order of the view's columns, so that the answer
    does not depend on the order in which rows were written.
    """
    learned = [learned_of(source, "f")] if source.created_timestamp_column else []
    values = [f'f."{column}"' for column in columns]
    order = ", ".join(f"{one} DESC NULLS LAST" for one in (*learned, *values))
    return f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order or key}) = 1"


@dataclass(frozen=True)
class Query:
    """One retrieval: a connection, and one state of the lake for all that it reads.

    ``memory`` is what it may take in bytes beside Python and its libraries: two fifths
    of it are DuckDB's, which spills what is more.
    """

    connection: Any
    config: RepoConfig
    folder: Path | None
    memory: int
    threads: int
    strict: bool
    respect_created: bool

    @classmethod
    @contextmanager
    def open(
        cls,
        config: RepoConfig,
        sources: Sequence[DataSource],
        respect_created: bool | None = None,
    ) -> Iterator["Query"]:
        """A query over these sources, with the lake's state of this moment or the pinned one."""
        settings = config.offline_store
        memory = bytes_of(settings.memory_limit) - LIBRARIES
        with spill_folder(state_folder(config)) as spill, connected(config, spill) as connection:
            connection.execute(f"SET memory_limit = '{memory * 2 // 5}B'")
            threads = settings.threads or os.cpu_count() or 1
            connection.execute(f"SET threads = {threads}")
            folder = published(*lake_state(config)) if any(map(in_lake, sources)) else None
            respect = settings.respect_created if respect_created is None else respect_created
            yield cls(connection, config, folder, memory, threads, settings.strict, respect)

    def rows(self, source: FileSource) -> str:
        """A DuckDB relation with the rows of a source."""
        files = self._files(source)
        # Folder names are columns only where a person laid them out.
        return f"read_parquet({files}{', hive_partitioning = false' if files[0] == '[' else ''})"

    def _files(self, source: FileSource) -> str:
        if in_lake(source):
            return file_list([str(self.folder / f"{self.view(source)}.parquet")])
        uri = FileSource.get_uri_for_file_path(self.config.repo_path, source.path)
        if isinstance(source.file_format, DeltaFormat):
            from deltalake import DeltaTable

            return file_list(DeltaTable(uri).file_uris())
        return f"'{quoted(f'{uri}/**/*.parquet' if Path(uri).is_dir() else uri)}'"

    def bytes_a_row(self, source: FileSource, columns: Iterable[str]) -> float:
        """About how much a row takes in memory in these columns, from the files' own figures."""
        names = ", ".join(f"'{quoted(column)}'" for column in columns) or "NULL"
        files = self._files(source)
        [(size, rows)] = self.connection.execute(
            "SELECT (SELECT coalesce(sum(total_uncompressed_size), 0) FROM "
            f"parquet_metadata({files}) WHERE split_part(path_in_schema, ', ', 1) IN ({names})), "
            f"(SELECT sum(num_rows) FROM parquet_file_metadata({files}))"
        ).fetchall()
        return size / max(rows, 1)

    def finds(self, sql: str) -> bool:
        """Whether a query has a row."""
        return bool(self.connection.execute(f"{sql} LIMIT 1").fetchall())

    def view(self, source: FileSource) -> str:
        """The name of the published view, empty for a source outside the lake."""
        return source.path.removeprefix(LAKE) if in_lake(source) else ""

    def assembled(self, name: str, wanted: str, alias: str) -> str:
        """A temporary table with the wanted rows (user_id, at) of an assembled view; its name."""
        entries = parquet([str(self.folder / f"{name}.entries.parquet")])
        make = self.connection.execute
        make(f"CREATE OR REPLACE TEMP TABLE wanted_{alias} AS {wanted}")
        make(f"CREATE OR REPLACE TEMP VIEW entries_{alias} AS SELECT * FROM {entries}")
        rows = assembling_query(name, f"wanted_{alias}", f"entries_{alias}")
        instant = 'make_timestamptz("at")'
        make(
            f'CREATE OR REPLACE TEMP TABLE assembled_{alias} AS SELECT * EXCLUDE ("at"), '
            f"{instant} AS event_timestamp, {instant} AS created_timestamp FROM ({rows})"
        )
        return f"assembled_{alias}"
