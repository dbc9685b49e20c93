"""Feast's SQLite store, guarded against older writes; the stored bytes stay Feast's.

Feast's own lets an older row replace a newer one, and does not leave out rows past their ttl.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from feast import Entity
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.repo_config import RepoConfig

from feature_repo.feast_internals import has_number_column
from feature_repo.home import resolve_home
from feature_repo.online.format.expiry import AsOf, Row
from feature_repo.online.format.guarded_store import GuardedStore
from feature_repo.online.format.progress_mark import ProgressMark, superseded
from feature_repo.online.format.rows import OnlineRows, value_numbers, value_vectors
from feature_repo.online.sqlite import guard
from feature_repo.online.sqlite.guard import Columns, table_of


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Feast's SQLite settings; ``path`` may be ``${CLIPWISE_HOME}/<name>``.

    ``as_of`` is the instant at which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedSqliteOnlineStore"] = (
        "feature_repo.online_store.GuardedSqliteOnlineStore"  # type: ignore[assignment]  # Feast finds the store by it
    )
    as_of: AsOf = None


@dataclass(frozen=True)
class SqliteView:
    """The rows of a view in SQLite, inside a transaction."""

    connection: sqlite3.Connection
    table: str
    view: FeatureView
    has_numbers: bool
    has_vectors: bool

    def write(self, rows: OnlineRows, bound: datetime | None) -> int:
        """Writes rows, each unless a newer one is stored; returns the number written.

        A stored row of an event before ``bound`` is replaced in any case.
        """
        return guard.write(self.connection, self.table, rows, bound, self._optional(rows))

    def remove(self, keys: Sequence[bytes], bound: datetime) -> int:
        """Removes rows of these entity keys of events before ``bound``; returns their number."""
        return guard.remove(self.connection, self.table, keys, bound)

    def stray_keys(self, keep: AbstractSet[bytes]) -> Iterable[bytes]:
        """Yields the stored entity keys that are not to be kept."""
        return (key for key in guard.stored_keys(self.connection, self.table) if key not in keep)

    def _optional(self, rows: OnlineRows) -> dict[str, Columns]:
        """Returns the optional columns of Feast's table that its settings switch on."""
        optional: dict[str, Columns] = {}
        if self.has_numbers:
            optional["value_num"] = value_numbers(rows)
        if self.has_vectors:
            optional["vector_value"] = value_vectors(self.view, rows)
        return optional


class GuardedSqliteOnlineStore(GuardedStore, SqliteOnlineStore):
    """Feast's SQLite store that never replaces a newer row by an older one."""

    with_texts = True

    def __init__(self) -> None:
        super().__init__()
        # All threads share one connection, and a transaction belongs to one of them.
        self._writing = threading.Lock()
        self._prepared: sqlite3.Connection | None = None

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        configured = config.online_store.path
        repository = Path(config.repo_path or ".")
        folder, _, name = configured.rpartition("/")
        if "${" in folder or folder == getattr(config.offline_store, "home", None):
            path = resolve_home(folder, repository) / name
        else:
            path = repository / Path(configured).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def database(self, config: RepoConfig) -> str:
        """Returns the path of the database file; creates its folder."""
        return self._get_db_path(config)

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        connection = super()._get_conn(config)
        if connection is not self._prepared:
            guard.prepare(connection)
            self._prepared = connection
        return connection

    @contextmanager
    def open_view(
        self, config: RepoConfig, view: FeatureView, mark: ProgressMark | None = None
    ) -> Iterator[SqliteView]:
        """Opens a view's rows in one transaction, which also stores the mark.

        Raises MaterializationRefused if another run has replaced the mark.
        """
        connection, table = self._get_conn(config), table_of(config, view)
        with self._writing, guard.transaction(connection):
            guard.create_stamps(connection, table)
            if mark is not None:
                stored = guard.read_mark(connection, table)
                if stored is None or stored.run != mark.run:
                    raise superseded(view.name)
            settings = config.online_store
            has_numbers = settings.enable_openai_compatible_store and has_number_column(
                self, connection, table
            )
            yield SqliteView(connection, table, view, has_numbers, settings.vector_enabled)
            if mark is not None:
                guard.put_mark(connection, table, mark)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> ProgressMark | None:
        """Reads the progress mark of the view's materialization; None if there is none."""
        return guard.read_mark(self._get_conn(config), table_of(config, view))

    def begin_run(
        self,
        config: RepoConfig,
        view: FeatureView,
        mark: ProgressMark,
        stored: ProgressMark | None,
    ) -> bool:
        """Replaces the stored mark by a new run's; false if another run has changed it."""
        with self.open_view(config, view) as opened:
            if guard.read_mark(opened.connection, opened.table) != stored:
                return False
            guard.put_mark(opened.connection, opened.table, mark)
        return True

    def with_exact_instants(
        self,
        config: RepoConfig,
        view: FeatureView,
        keys: list[EntityKey],
        rows: list[Row],
        cutoff: datetime,
    ) -> list[Row]:
        """Returns the rows with exact instants if the cutoff lies within their second.

        Feast reads whole seconds.
        """
        second = timedelta(seconds=1)
        near = [row for row, (at, _) in enumerate(rows) if at and at <= cutoff < at + second]
        if not near:
            return rows
        version = config.entity_key_serialization_version
        encoded = {row: serialize_entity_key(keys[row], version) for row in near}
        connection, table = self._get_conn(config), table_of(config, view)
        exact = guard.exact_events(connection, table, list(encoded.values()))
        found = list(rows)
        for row, key in encoded.items():
            at, values = rows[row]
            found[row] = exact.get(key, at), values
        return found

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Creates and drops the tables of views, as Feast does, and our own beside them."""
        super().update(
            config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
        )
        for view in tables_to_delete:
            guard.drop_stamps(self._get_conn(config), table_of(config, view))

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Removes the database, with the files that SQLite keeps beside it."""
        super().teardown(config, tables, entities)
        for end in ("-wal", "-shm"):
            Path(self._get_db_path(config) + end).unlink(missing_ok=True)
