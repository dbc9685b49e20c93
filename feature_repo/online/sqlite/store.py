"""Thin guards over Feast's online stores; the stored bytes stay Feast's.

Feast's SQLite store lets an older write replace a newer one, Feast's Redis store does so when two
write at once, and neither leaves out a row that is past its view's ttl. These two compare event
and created timestamps to the microsecond and set in one step: an older row never replaces a newer
one, and one with the same timestamps is a correction. Both write an Arrow table in bulk.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast import Entity
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.repo_config import RepoConfig

from feature_repo.home import resolve_home
from feature_repo.online.format.expiry import AsOf, Row, RowAge
from feature_repo.online.format.progress_mark import Mark, taken_over
from feature_repo.online.format.rows import OnlineRows, rows_of_protos, value_numbers, value_vectors
from feature_repo.online.format.tables import Bulk, table_of
from feature_repo.online.sqlite import guard


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Feast's SQLite settings; ``path`` may be given as ``${CLIPWISE_HOME}/<name>``.

    ``as_of`` is the instant to which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedSqliteOnlineStore"] = (
        "feature_repo.online_store.GuardedSqliteOnlineStore"
    )
    as_of: AsOf = None


class GuardedSqliteOnlineStore(Bulk, RowAge, SqliteOnlineStore):
    """Feast's SQLite store that never replaces a newer row by an older one."""

    with_texts = True

    def __init__(self) -> None:
        super().__init__()
        # One connection is shared by all threads, and a transaction belongs to one of them.
        self._writing = threading.Lock()

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        configured = config.online_store.path
        folder, _, name = configured.rpartition("/")
        if "${" in folder or folder == getattr(config.offline_store, "home", None):
            path = resolve_home(folder, Path(config.repo_path)) / name
        else:
            path = Path(config.repo_path or ".") / Path(configured).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def _get_conn(self, config: RepoConfig):
        if not self._conn:
            guard.prepare(super()._get_conn(config))
        return self._conn

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write (entity key, values, event time, created time) rows in one transaction."""
        with self._transaction(config, table) as place:
            for rows in rows_of_protos(config, data):
                guard.write(*place, rows, None, self._extra(config, table, rows))
        if progress:
            progress(len(data))

    def write_table(
        self,
        config: RepoConfig,
        view: FeatureView,
        table: pa.RecordBatch | OnlineRows,
        gone: Sequence[bytes] = (),
        mark: Mark | None = None,
    ) -> int:
        """Write a batch, or what ``encoded`` made of it, and take out what is ``gone``; how many.

        ``gone`` are entity keys. With a mark, held rows of events before its bound are replaced in
        any case, and the mark moves in the same transaction. Raises MaterializationRefused if
        another run took over.
        """
        rows, bound = self._encoded(config, view, table), mark and mark.bound
        with self._transaction(config, view, mark) as place:
            written = guard.write(*place, rows, bound, self._extra(config, view, rows))
            return written + guard.remove(*place, gone, bound)

    def finish(
        self, config: RepoConfig, view: FeatureView, mark: Mark, keep: set[bytes] | None
    ) -> int:
        """End a run, and take out the rows before the mark's bound of entities not to keep.

        Gives how many went; None keeps all. Raises MaterializationRefused if another run took over.
        """
        with self._transaction(config, view, mark) as place:
            if keep is None:
                return 0
            stray = [key for key in guard.stored_keys(*place) if key not in keep]
            return guard.remove(*place, stray, mark.bound)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> Mark | None:
        """The mark of the view's materialization, if its rows were brought here by one."""
        return guard.read_mark(self._get_conn(config), table_of(config, view))

    def take(self, config: RepoConfig, view: FeatureView, mark: Mark, held: Mark | None) -> bool:
        """Begin a run in place of the mark that was read; False if that has moved since."""
        with self._transaction(config, view) as place:
            if guard.read_mark(*place) != held:
                return False
            guard.put_mark(*place, mark)
        return True

    @contextmanager
    def _transaction(
        self, config: RepoConfig, view: FeatureView, mark: Mark | None = None
    ) -> Iterator[tuple[Any, str]]:
        """The connection and the view's table, all or nothing; a mark moves with the rest."""
        connection, table = self._get_conn(config), table_of(config, view)
        with self._writing, guard.transaction(connection):
            guard.make_stamps(connection, table)
            if mark is not None:
                held = guard.read_mark(connection, table)
                if held is None or held.run != mark.run:
                    raise taken_over(view.name)
            yield connection, table
            if mark is not None:
                guard.put_mark(connection, table, mark)

    def _extra(self, config: RepoConfig, view: FeatureView, rows: OnlineRows) -> dict:
        """The further columns of Feast's table that its settings ask for."""
        settings, extra = config.online_store, {}
        numbers = settings.enable_openai_compatible_store
        connection, table = self._get_conn(config), table_of(config, view)
        if numbers and self._check_table_has_value_num(connection, table):
            extra["value_num"] = value_numbers(rows)
        if settings.vector_enabled:
            extra["vector_value"] = value_vectors(view, rows)
        return extra

    def _exact(
        self, config: RepoConfig, view: FeatureView, keys: list, rows: list[Row], oldest: datetime
    ) -> list[Row]:
        """Feast reads whole seconds, so look closer where the limit lies within one."""
        second = timedelta(seconds=1)
        near = [row for row, (at, _) in enumerate(rows) if at and at <= oldest < at + second]
        if not near:
            return rows
        version = config.entity_key_serialization_version
        encoded = {row: serialize_entity_key(keys[row], version) for row in near}
        connection, table = self._get_conn(config), table_of(config, view)
        exact = guard.exact_events(connection, table, list(encoded.values()))
        return [(exact.get(encoded.get(row), at), values) for row, (at, values) in enumerate(rows)]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make and drop the tables of views, as Feast does, and those that we keep beside them."""
        super().update(
            config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
        )
        for view in tables_to_delete:
            guard.drop_stamps(self._get_conn(config), table_of(config, view))

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Remove the database, with what SQLite keeps beside it."""
        super().teardown(config, tables, entities)
        for end in ("-wal", "-shm"):
            Path(self._get_db_path(config) + end).unlink(missing_ok=True)
