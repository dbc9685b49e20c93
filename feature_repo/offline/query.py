"""Feast sources on DuckDB: the lake's published views in one state, or plain files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast

from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.lake.duckdb_files import file_list, literal, parquet
from feature_repo.offline.lake_session import lake_state, open_session, spill_root
from feature_repo.offline.source_table import SourceTable, columns_of
from feature_repo.offline.spill import LIBRARY_BYTES, parse_size, spill_folder
from feature_repo.publication.publish import published
from feature_repo.publication.queries import assembling_query
from feature_repo.views import LAKE

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from duckdb import DuckDBPyConnection


def is_in_lake(source: DataSource | None) -> TypeGuard[FileSource]:
    """True if a source names a view that the lake publishes."""
    return isinstance(source, FileSource) and source.path.startswith(LAKE)


def file_source(view: FeatureView) -> FileSource:
    """Returns the source of a view; Feast's DuckDB store lets no other kind pass."""
    return cast(FileSource, view.batch_source)


@dataclass(frozen=True)
class Query:
    """One retrieval: a connection, and one state of the lake for all its reads.

    ``folder`` has the published views of that state; None if no source is in the lake. ``memory``
    is in bytes, beside Python and its libraries. DuckDB has two fifths of it and spills the rest.
    """

    connection: DuckDBPyConnection
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
    ) -> Iterator[Query]:
        """Opens a query over these sources, on the lake's current state or the pinned one."""
        settings = config.offline_store
        memory = parse_size(settings.memory_limit) - LIBRARY_BYTES
        with spill_folder(spill_root(config)) as spill, open_session(config, spill) as connection:
            connection.execute(f"SET memory_limit = '{memory * 2 // 5}B'")
            threads = settings.threads or os.cpu_count() or 1
            connection.execute(f"SET threads = {threads}")
            folder = published(*lake_state(config)) if any(map(is_in_lake, sources)) else None
            respect = settings.respect_created if respect_created is None else respect_created
            yield cls(connection, config, folder, memory, threads, settings.strict, respect)

    def table(
        self, source: FileSource, happened: str, created: str | None, alias: str = "pulled"
    ) -> SourceTable:
        """Opens a source with these columns of instants; ``alias`` is its name in the query."""
        if isinstance(source.file_format, DeltaFormat):
            # A file of a Delta table has neither its partition's values nor every later column.
            relation, files = f"delta_{alias}", ""
            self.connection.register(relation, self._delta(source).to_pyarrow_dataset())
        else:
            files = self._files(source)
            # Only paths written by a user may have partition columns in their folder names.
            in_lake = ", hive_partitioning = false" * is_in_lake(source)
            relation = f"read_parquet({files}{in_lake})"
        columns = columns_of(self.connection, relation, files)
        return SourceTable(relation, columns, happened, created)

    def _delta(self, source: FileSource) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self._uri(source))

    def _uri(self, source: FileSource) -> str:
        return FileSource.get_uri_for_file_path(self.config.repo_path, source.path)

    def _files(self, source: FileSource) -> str:
        if is_in_lake(source):
            return file_list([self._published(f"{self.view_name(source)}.parquet")])
        if isinstance(source.file_format, DeltaFormat):
            return file_list(self._delta(source).file_uris())
        uri = self._uri(source)
        return literal(f"{uri}/**/*.parquet" if Path(uri).is_dir() else uri)

    def _published(self, name: str) -> str:
        if self.folder is None:
            raise ValueError(
                f"Expected a query over the lake to read {name}, got one over files alone; open "
                "the query with every source that it reads."
            )
        return str(self.folder / name)

    def bytes_per_row(self, source: FileSource, columns: Iterable[str]) -> float:
        """Estimates the bytes of a row in these columns, from the files' own metadata."""
        names = ", ".join(map(literal, columns)) or "NULL"
        files = self._files(source)
        [(size, rows)] = self.connection.execute(
            "SELECT (SELECT coalesce(sum(total_uncompressed_size), 0) FROM "
            f"parquet_metadata({files}) WHERE split_part(path_in_schema, ', ', 1) IN ({names})), "
            f"(SELECT sum(num_rows) FROM parquet_file_metadata({files}))"
        ).fetchall()
        return size / max(rows, 1)

    def has_rows(self, sql: str) -> bool:
        """True if a SQL query has a row."""
        return bool(self.connection.execute(f"{sql} LIMIT 1").fetchall())

    def view_name(self, source: DataSource) -> str:
        """Returns the name of the published view; empty for a source outside the lake."""
        return source.path.removeprefix(LAKE) if is_in_lake(source) else ""

    def assemble(self, name: str, requested: str, alias: str) -> str:
        """Creates a temporary table with the requested rows of an assembled view.

        ``requested`` is a relation with user_id and ``at`` in microseconds. Returns the name of
        the table.
        """
        entries = parquet([self._published(f"{name}.entries.parquet")])
        execute = self.connection.execute
        execute(f"CREATE OR REPLACE TEMP TABLE requested_{alias} AS {requested}")
        execute(f"CREATE OR REPLACE TEMP VIEW entries_{alias} AS SELECT * FROM {entries}")
        rows = assembling_query(name, f"requested_{alias}", f"entries_{alias}")
        instant = 'make_timestamptz("at")'
        execute(
            f'CREATE OR REPLACE TEMP TABLE assembled_{alias} AS SELECT * EXCLUDE ("at"), '
            f"{instant} AS event_timestamp, {instant} AS created_timestamp FROM ({rows})"
        )
        return f"assembled_{alias}"
