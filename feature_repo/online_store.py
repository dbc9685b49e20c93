"""Thin guards over Feast's online stores; the stored bytes stay Feast's.

Feast's SQLite store writes one feature at a time and lets an older write replace a newer one.
This one writes in bulk and keeps the newer value.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.infra.online_stores.sqlite import (
    SqliteOnlineStore,
    SqliteOnlineStoreConfig,
    _table_id,
    adapt_datetime_epoch,
)
from feast.repo_config import RepoConfig
from feast.utils import to_naive_utc

from feature_repo.home import resolve_home


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Feast's SQLite settings; ``path`` is given as ``${CLIPWISE_HOME}/<name>``."""

    type: Literal["feature_repo.online_store.GuardedSqliteOnlineStore"] = (
        "feature_repo.online_store.GuardedSqliteOnlineStore"
    )


class GuardedSqliteOnlineStore(SqliteOnlineStore):
    """Feast's SQLite store with bulk writes that never replace a newer value by an older one."""

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        configured, name = config.online_store.path.rsplit("/", 1)
        path = resolve_home(configured, Path(config.repo_path)) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write (entity key, values, event time, created time) rows in one transaction."""
        name = _table_id(
            config.project, table, config.registry.enable_online_feature_view_versioning
        )
        connection = self._get_conn(config)
        with connection:
            connection.executemany(_UPSERT.format(table=name), _rows(config, data))
        if progress:
            progress(len(data))


_UPSERT = (
    'INSERT INTO "{table}" AS held (entity_key, feature_name, value, value_text, event_ts, '
    "created_ts) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (entity_key, feature_name) DO UPDATE SET "
    "value = excluded.value, value_text = excluded.value_text, event_ts = excluded.event_ts, "
    "created_ts = excluded.created_ts WHERE excluded.event_ts > held.event_ts OR "
    "(excluded.event_ts = held.event_ts AND coalesce(excluded.created_ts, excluded.event_ts) "
    ">= coalesce(held.created_ts, held.event_ts))"
)


def _rows(config: RepoConfig, data: list) -> Iterator[tuple]:
    """One row a feature, as Feast's own store would write it."""
    version = config.entity_key_serialization_version
    for entity_key, values, event_timestamp, created_timestamp in data:
        key = serialize_entity_key(entity_key, entity_key_serialization_version=version)
        happened = _stored(event_timestamp)
        learned = None if created_timestamp is None else _stored(created_timestamp)
        for feature, value in values.items():
            text, _number = extract_text_and_num(value, False)
            yield key, feature, value.SerializeToString(), text, happened, learned


def _stored(moment: datetime) -> int:
    """An instant as Feast stores it: once a row instead of once a feature."""
    return adapt_datetime_epoch(to_naive_utc(moment))
