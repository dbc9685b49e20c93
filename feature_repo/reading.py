"""Reading Feast sources on DuckDB: the lake's published views in one state, or plain files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from click import ClickException
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.home import resolve_home
from feature_repo.lake import Lake, LakeError, connect, parquet
from feature_repo.publication import ASSEMBLED, ENTRY_COLUMNS, WANTED_COLUMNS, compiled, published
from feature_repo.transforms.history import assembled
from feature_repo.views import LAKE


class BeyondWatermark(LakeError, ClickException):
    """An instant that the lake does not know yet; the feast command prints it as one sentence."""


def in_lake(source: DataSource) -> bool:
    """Whether a source names a view that the lake publishes."""
    return isinstance(source, FileSource) and source.path.startswith(LAKE)


@dataclass(frozen=True)
class Query:
    """One retrieval: a connection, and one state of the lake for all that it reads."""

    connection: Any
    config: RepoConfig

    folder: Path | None

    @property
    def settings(self) -> Any:
        """The offline store's part of feature_store.yaml."""
        return self.config.offline_store

    @classmethod
    def open(cls, config: RepoConfig, sources: Sequence[DataSource]) -> "Query":
        """A query over these sources, with the lake's state of this moment or the pinned one."""
        settings = config.offline_store
        home = resolve_home(settings.home, Path(config.repo_path))
        connection = connect(home / "spill")
        connection.execute(f"SET memory_limit = '{settings.memory_limit}'")
        if settings.threads:
            connection.execute(f"SET threads = {settings.threads}")
        folder = published(*lake_state(config)) if any(map(in_lake, sources)) else None
        return cls(connection, config, folder)

    def rows(self, source: FileSource) -> str:
        """A DuckDB relation with the rows of a source."""
        if in_lake(source):
            return parquet([str(self.folder / f"{self.view(source)}.parquet")])
        uri = FileSource.get_uri_for_file_path(self.config.repo_path, source.path)
        if isinstance(source.file_format, DeltaFormat):
            from deltalake import DeltaTable

            return parquet(DeltaTable(uri).file_uris())
        return "read_parquet('" + uri.replace("'", "''") + "')"

    def view(self, source: FileSource) -> str:
        """The name of the published view, empty for a source outside the lake."""
        return source.path.removeprefix(LAKE) if in_lake(source) else ""

    def assembled(self, name: str, wanted: str, alias: str) -> str:
        """A temporary table with the wanted rows (user_id, at) of an assembled view; its name."""
        import ibis

        entries = parquet([str(self.folder / f"{name}.entries.parquet")])
        self.connection.execute(f"CREATE TEMP TABLE wanted_{alias} AS {wanted}")
        self.connection.execute(f"CREATE TEMP VIEW entries_{alias} AS SELECT * FROM {entries}")
        rows = assembled(
            ibis.table(WANTED_COLUMNS, name=f"wanted_{alias}"),
            ibis.table(ENTRY_COLUMNS, name=f"entries_{alias}"),
            ASSEMBLED[name],
        )
        instant = 'make_timestamptz("at")'
        self.connection.execute(
            f'CREATE TEMP TABLE assembled_{alias} AS SELECT * EXCLUDE ("at"), '
            f"{instant} AS event_timestamp, {instant} AS created_timestamp, "
            f"{instant} AS _from, {instant} AS _event FROM ({compiled(rows)})"
        )
        return f"assembled_{alias}"


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
    qualify: str,
) -> pa.Table:
    """The rows of a source in ``[start, end)``, of which ``qualify`` keeps some."""
    query = Query.open(config, [source])
    since = _known_since(query, source, timestamp_field)
    bounds = [(">=", start), ("<", end)]
    where = " AND ".join(
        f"{since} {sign} TIMESTAMPTZ '{_aware(at).isoformat()}'"
        for sign, at in bounds
        if at is not None
    )
    # Cast, because Parquet that pandas wrote has nanoseconds, which DuckDB does not compare.
    happened = f'CAST("{timestamp_field}" AS TIMESTAMPTZ) AS "{timestamp_field}"'
    rows = (
        f"SELECT * REPLACE ({happened}) FROM {query.rows(source)} WHERE {where or 'true'}{qualify}"
    )
    name = query.view(source)
    if name in ASSEMBLED:
        wanted = f'SELECT user_id, epoch_us(event_timestamp) AS "at" FROM ({rows})'
        rows = f"SELECT * FROM {query.assembled(name, wanted, 'pulled')}"
    picked = ", ".join(f'"{column}"' for column in dict.fromkeys(columns))
    # In the order of their keys, because SQLite writes neighbors faster, and in one piece,
    # because Feast's engine writes the first piece of a table alone.
    sql = f'SELECT {picked} FROM ({rows}) ORDER BY "{columns[0]}"'
    return query.connection.sql(sql).to_arrow_table().combine_chunks()


def _known_since(query: Query, source: DataSource, timestamp_field: str) -> str:
    """When a row of a source is first read, which decides to which span it belongs."""
    happened = f'CAST("{timestamp_field}" AS TIMESTAMPTZ)'
    learned = source.created_timestamp_column
    if in_lake(source) or not learned or not query.settings.respect_created:
        return happened
    return f'greatest({happened}, CAST("{learned}" AS TIMESTAMPTZ))'


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
