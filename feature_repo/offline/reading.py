"""Reading Feast sources on DuckDB: the lake's published views in one state, or plain files."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from click import ClickException
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.contract import TABLES
from feature_repo.home import resolve_home
from feature_repo.lake import Lake, LakeError, connect, file_list, parquet
from feature_repo.offline.spill import LIBRARIES, bytes_of, spill_folder
from feature_repo.publication import published
from feature_repo.view_queries import ASSEMBLED, assembling_query
from feature_repo.views import LAKE


class PointInTimeError(Exception):
    """A query cannot be answered as of an instant; the message says what to do."""


class BeyondWatermark(LakeError, ClickException):
    """An instant that the lake does not know yet; the feast command prints it as one sentence."""


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
        with spill_folder(_state_folder(config)) as spill, connected(config, spill) as connection:
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
        return f"'{_quoted(f'{uri}/**/*.parquet' if Path(uri).is_dir() else uri)}'"

    def bytes_a_row(self, source: FileSource, columns: Iterable[str]) -> float:
        """About how much a row takes in memory in these columns, from the files' own figures."""
        names = ", ".join(f"'{_quoted(column)}'" for column in columns) or "NULL"
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


def connected(config: RepoConfig, spill: Path | None = None, sql: bool = False):
    """A DuckDB connection on which ``sql`` names files as the repository does, and the tables."""
    connection = connect(spill)
    connection.execute(f"SET file_search_path = '{_quoted(config.repo_path)}'")
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


@contextmanager
def told(subject: str) -> Iterator[None]:
    """Raises PointInTimeError, naming the subject, for what DuckDB cannot do."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            reason += "; raise memory_limit of the offline store in feature_store.yaml"
        raise PointInTimeError(f"{subject} cannot be read: {reason}") from error


def _state_folder(config: RepoConfig) -> Path:
    """Clipwise's folder; another repository need not have one, and spills where all do."""
    home = config.offline_store.home
    return resolve_home(home, Path(config.repo_path)) if home else Path(tempfile.gettempdir())


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")


def lake_state(config: RepoConfig):
    """The lake that a Feast repository is configured for, and the state that its queries read."""
    settings = config.offline_store
    lake = Lake(resolve_home(settings.home, Path(config.repo_path)))
    return lake, lake.state(settings.lake_version)


def pull(
    config: RepoConfig,
    source: DataSource,
    columns: Sequence[str],
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
    keys: Sequence[str],
    newest: bool,
) -> pa.Table:
    """The rows of a source in ``[start, end)``, or the ``newest`` of each key, in their order.

    In one piece, because Feast's engine writes the first piece of a table alone.
    """
    with Query.open(config, [source]) as query:
        where = f" WHERE {_within(query, source, timestamp_field, start, end)}"
        happened = f'{instant_of(timestamp_field)} AS "{timestamp_field}"'
        rows = f"SELECT * REPLACE ({happened}) FROM {query.rows(source)}{where}"
        name = query.view(source)
        if newest:
            rows = _newest(query, source, rows, timestamp_field, keys, columns)
        if name in ASSEMBLED:
            wanted = f'SELECT user_id, epoch_us(event_timestamp) AS "at" FROM ({rows})'
            rows = f"SELECT * FROM {query.assembled(name, wanted, 'pulled')}"
        picked = ", ".join(f'"{column}"' for column in dict.fromkeys(columns))
        if not keys:
            picked += f", '{DUMMY_ENTITY_VAL}' AS \"{DUMMY_ENTITY_ID}\""
        # Neighbors are written faster, by SQLite above all.
        order = ", ".join(f'"{key}"' for key in keys)
        sql = f"SELECT {picked} FROM ({rows}){f' ORDER BY {order}' if order else ''}"
        return query.connection.sql(sql).to_arrow_table().combine_chunks()


def _newest(
    query: Query,
    source: DataSource,
    rows: str,
    timestamp_field: str,
    keys: Sequence[str],
    columns: Sequence[str],
) -> str:
    """The newest of ``rows`` for each key, found by keys and instants alone."""
    make = query.connection.execute
    instants = [timestamp_field, *filter(None, [source.created_timestamp_column])]
    narrow = ", ".join(f'"{name}"' for name in (*keys, *instants))
    by = ", ".join(f'"{key}"' for key in keys)
    order = [instant_of(timestamp_field)]
    order += [learned_of(source)] if source.created_timestamp_column else []
    make(
        f"CREATE TEMP TABLE newest AS SELECT {narrow} FROM ({rows}) QUALIFY row_number() OVER "
        f"({f'PARTITION BY {by} ' if keys else ''}ORDER BY {' DESC, '.join(order)} DESC) = 1"
    )
    same = " AND ".join(f'f."{n}" IS NOT DISTINCT FROM m."{n}"' for n in (*keys, *instants))
    found = f"SELECT f.* FROM ({rows}) f JOIN newest m ON {same}"
    if not query.finds(f"SELECT 1 FROM ({found}) HAVING count(*) > (SELECT count(*) FROM newest)"):
        return found
    values = [name for name in columns if name not in (*keys, *instants)]
    return found + newest_of_ties(", ".join(f'f."{k}"' for k in keys) or "1", source, values)


def _within(
    query: Query,
    source: DataSource,
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
) -> str:
    """The rows to read in ``[start, end)``, as SQL; by Feast's contract the end is within.

    Rows of the lake end at its watermark in any case.
    """
    if in_lake(source) and end is None:
        end = lake_state(query.config)[1].watermark
    since = _known_since(query, source, timestamp_field)
    bounds = [(">=", start), ("<" if query.strict else "<=", end)]
    limits = [
        f"{since} {sign} TIMESTAMPTZ '{_aware(at).isoformat()}'"
        for sign, at in bounds
        if at is not None
    ]
    return " AND ".join(limits) or "true"


def _known_since(query: Query, source: DataSource, timestamp_field: str) -> str:
    """When a row of a source is first read, which decides to which span it belongs."""
    happened = instant_of(timestamp_field)
    learned = source.created_timestamp_column
    if in_lake(source) or not learned or not query.respect_created:
        return happened
    return f"greatest({happened}, {instant_of(learned)})"


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def refuse_the_future(config: RepoConfig, source: DataSource, end: datetime | None) -> None:
    """Raises LakeError for an end beyond the lake's watermark: what lies there is not known yet."""
    if end is None or not in_lake(source):
        return
    watermark = lake_state(config)[1].watermark
    if _aware(end) > watermark:
        raise BeyondWatermark(
            f"The lake is complete up to {watermark.isoformat()}, so features cannot be "
            f"materialized up to {_aware(end).isoformat()}; use an end no later than that."
        )
