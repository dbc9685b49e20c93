"""Thin guards over Feast's online stores; the stored bytes stay Feast's.

Feast's SQLite store lets an older write replace a newer one, Feast's Redis store does so when two
write at once, and neither leaves out a row that is past its view's ttl. These two compare event
and created timestamps to the microsecond and set in one step: an older row never replaces a newer
one, and one with the same timestamps is a correction. Both write an Arrow table in bulk.
"""

import asyncio
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
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _table_id
from feast.repo_config import RepoConfig

from feature_repo.home import resolve_home
from feature_repo.online import redis_guard, sqlite_guard
from feature_repo.online.marks import Mark, taken_over
from feature_repo.online.row_age import AsOf, Row, RowAge
from feature_repo.online.rows import (
    OnlineRows,
    rows_of_protos,
    rows_of_table,
    value_numbers,
    value_vectors,
)


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Feast's SQLite settings; ``path`` may be given as ``${CLIPWISE_HOME}/<name>``.

    ``as_of`` is the instant to which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedSqliteOnlineStore"] = (
        "feature_repo.online_store.GuardedSqliteOnlineStore"
    )
    as_of: AsOf = None


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis settings, of which ``skip_dedup`` does nothing here.

    ``as_of`` is the instant to which row ttl is measured (default: the wall clock).
    """

    type: Literal["feature_repo.online_store.GuardedRedisOnlineStore"] = (
        "feature_repo.online_store.GuardedRedisOnlineStore"
    )
    as_of: AsOf = None


class _Bulk:
    """What both stores make of an Arrow batch; ``with_texts`` as their own form asks for it."""

    with_texts: bool

    def encoded(self, config: RepoConfig, view: FeatureView, table: pa.RecordBatch) -> OnlineRows:
        """The rows of an Arrow batch as they are stored, for ``write_table``; in any thread."""
        return rows_of_table(config, view, table, self.with_texts)

    def _encoded(self, config: RepoConfig, view: FeatureView, rows) -> OnlineRows:
        return rows if isinstance(rows, OnlineRows) else self.encoded(config, view, rows)


class GuardedSqliteOnlineStore(_Bulk, RowAge, SqliteOnlineStore):
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
            sqlite_guard.prepare(super()._get_conn(config))
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
                sqlite_guard.write(*place, rows, None, self._extra(config, table, rows))
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
            written = sqlite_guard.write(*place, rows, bound, self._extra(config, view, rows))
            return written + sqlite_guard.remove(*place, gone, bound)

    def finish(
        self, config: RepoConfig, view: FeatureView, mark: Mark, keep: set[bytes] | None
    ) -> int:
        """End a run, and take out the rows before the mark's bound of entities not to keep.

        Gives how many went; None keeps all. Raises MaterializationRefused if another run took over.
        """
        with self._transaction(config, view, mark) as place:
            if keep is None:
                return 0
            stray = [key for key in sqlite_guard.stored_keys(*place) if key not in keep]
            return sqlite_guard.remove(*place, stray, mark.bound)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> Mark | None:
        """The mark of the view's materialization, if its rows were brought here by one."""
        return sqlite_guard.read_mark(self._get_conn(config), table_of(config, view))

    def take(self, config: RepoConfig, view: FeatureView, mark: Mark, held: Mark | None) -> bool:
        """Begin a run in place of the mark that was read; False if that has moved since."""
        with self._transaction(config, view) as place:
            if sqlite_guard.read_mark(*place) != held:
                return False
            sqlite_guard.put_mark(*place, mark)
        return True

    @contextmanager
    def _transaction(
        self, config: RepoConfig, view: FeatureView, mark: Mark | None = None
    ) -> Iterator[tuple[Any, str]]:
        """The connection and the view's table, all or nothing; a mark moves with the rest."""
        connection, table = self._get_conn(config), table_of(config, view)
        with self._writing, sqlite_guard.transaction(connection):
            sqlite_guard.make_stamps(connection, table)
            if mark is not None:
                held = sqlite_guard.read_mark(connection, table)
                if held is None or held.run != mark.run:
                    raise taken_over(view.name)
            yield connection, table
            if mark is not None:
                sqlite_guard.put_mark(connection, table, mark)

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
        exact = sqlite_guard.exact_events(connection, table, list(encoded.values()))
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
            sqlite_guard.drop_stamps(self._get_conn(config), table_of(config, view))

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Remove the database, with what SQLite keeps beside it."""
        super().teardown(config, tables, entities)
        for end in ("-wal", "-shm"):
            Path(self._get_db_path(config) + end).unlink(missing_ok=True)


class GuardedRedisOnlineStore(_Bulk, RowAge, RedisOnlineStore):
    """Feast's Redis store that never replaces a newer row by an older one, also of two at once."""

    with_texts = False

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write (entity key, values, event time, created time) rows."""
        for rows in rows_of_protos(config, data):
            redis_guard.write(self._place(config, table), rows, None)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """As ``online_write_batch``, in a thread of its own."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

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
        any case, and the mark moves after the batch. Raises MaterializationRefused if another run
        took over.
        """
        rows, bound = self._encoded(config, view, table), mark and mark.bound
        place = self._place(config, view)
        with redis_guard.moving(place, mark):
            return redis_guard.write(place, rows, bound) + redis_guard.remove(place, gone, bound)

    def finish(
        self, config: RepoConfig, view: FeatureView, mark: Mark, keep: set[bytes] | None
    ) -> int:
        """End a run, and take out the rows before the mark's bound of entities not to keep.

        Gives how many went; None keeps all. Raises MaterializationRefused if another run took over.
        """
        place = self._place(config, view)
        with redis_guard.moving(place, mark):
            if keep is None:
                return 0
            return redis_guard.remove(place, list(redis_guard.stray_keys(place, keep)), mark.bound)

    def read_mark(self, config: RepoConfig, view: FeatureView) -> Mark | None:
        """The mark of the view's materialization, if its rows were brought here by one."""
        return redis_guard.read_mark(self._place(config, view))

    def take(self, config: RepoConfig, view: FeatureView, mark: Mark, held: Mark | None) -> bool:
        """Begin a run in place of the mark that was read; False if that has moved since."""
        return redis_guard.take(self._place(config, view), mark, held)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Take out the rows of a view, as Feast does, and the field that we keep beside them."""
        redis_guard.drop_created(self._place(config, table))
        super().delete_table(config, table)

    def _place(self, config: RepoConfig, view: FeatureView) -> redis_guard.Place:
        return redis_guard.Place.of(self._get_client(config.online_store), config, view)


def table_of(config: RepoConfig, view: FeatureView) -> str:
    """The name of a view's table in SQLite."""
    return _table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
