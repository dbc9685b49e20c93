"""Feast's private names that Clipwise needs; after an upgrade of Feast, check this file.

``USED`` are private names that we call, ``OVERRIDDEN`` private methods that our classes replace.
Each has the reason. No other module may use a private name of Feast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView
from feast.infra.online_stores.helpers import _mmh3, _redis_key_prefix
from feast.repo_config import RepoConfig
from feast.utils import (
    _get_column_names,
    _get_feature_view_vector_field_metadata,
    _validate_vector_field_lengths,
)

if TYPE_CHECKING:
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.infra.online_stores.sqlite import SqliteOnlineStore

USED: Mapping[str, str] = {
    "feast.infra.offline_stores.duckdb._write_data_source": "saves data sets in any format",
    "feast.infra.online_stores.helpers._mmh3": "names the Redis hash field of a feature",
    "feast.infra.online_stores.helpers._redis_key_prefix": "scans the Redis keys of a view",
    "feast.infra.online_stores.redis.RedisOnlineStore._get_client": "shares Feast's connections",
    "feast.infra.online_stores.redis.RedisOnlineStore._get_client_async": (
        "reads through a cluster, a sentinel or TLS"
    ),
    "feast.infra.online_stores.redis.RedisOnlineStore._parse_connection_string": (
        "opens our own connection to the configured address"
    ),
    "feast.infra.online_stores.sqlite.SqliteOnlineStore._check_table_has_value_num": (
        "fills Feast's optional column of numbers"
    ),
    "feast.infra.registry.registry.Registry._registry_store": (
        "reads the registry again only after its file changed"
    ),
    "feast.utils._get_column_names": "maps a view's columns to those of its source",
    "feast.utils._get_feature_view_vector_field_metadata": "pads vectors to their length in SQLite",
    "feast.utils._validate_vector_field_lengths": "refuses the vectors that Feast refuses",
}

OVERRIDDEN: Mapping[str, str] = {
    "feast.infra.compute_engines.local.compute.LocalComputeEngine._materialize_one": (
        "materializes one view in bulk and by changed keys"
    ),
    "feast.infra.offline_stores.offline_store.RetrievalJob._to_arrow_internal": "runs the join",
    "feast.infra.offline_stores.offline_store.RetrievalJob._to_df_internal": "runs the join",
    "feast.infra.online_stores.online_store.OnlineStore._read_features_per_fv": (
        "blanks expired rows of a whole response"
    ),
    "feast.infra.online_stores.online_store.OnlineStore._read_features_per_fv_async": (
        "blanks expired rows of a whole response"
    ),
    "feast.infra.online_stores.sqlite.SqliteOnlineStore._get_conn": "sets WAL mode and timeouts",
    "feast.infra.online_stores.sqlite.SqliteOnlineStore._get_db_path": (
        "puts the file into the state folder"
    ),
}


def write_data_source(
    table: Any, source: Any, repo_path: str, mode: str, allow_overwrite: bool
) -> None:
    """Writes an Ibis table to a file source in the source's format.

    Raises SavedDatasetLocationAlreadyExists if the file exists and may not be overwritten.
    """
    from feast.infra.offline_stores.duckdb import _write_data_source

    _write_data_source(table, source, repo_path, mode, allow_overwrite)


def feature_field(view: str, feature: str) -> bytes:
    """Returns the Redis hash field of a feature; ``view`` is the view's versioned name."""
    return _mmh3(f"{view}:{feature}")


def redis_key_prefix(join_keys: Sequence[str]) -> bytes:
    """Returns the first bytes of the Redis keys of entities with these join keys."""
    return _redis_key_prefix(list(join_keys))


def redis_client(store: RedisOnlineStore, config: RepoConfig) -> Any:
    """Returns the store's Redis or RedisCluster client; connects it on the first call."""
    return store._get_client(config.online_store)


async def redis_client_async(store: RedisOnlineStore, config: RepoConfig) -> Any:
    """Returns the store's asynchronous client; connects it on the first call."""
    return await store._get_client_async(config.online_store)


def redis_address(
    store: RedisOnlineStore, connection_string: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the nodes (host and port) and the login settings of a connection string."""
    return store._parse_connection_string(connection_string)


def has_number_column(store: SqliteOnlineStore, connection: Any, table: str) -> bool:
    """True if a view's SQLite table has Feast's optional column ``value_num``."""
    return store._check_table_has_value_num(connection, table)


def registry_file(store: FeatureStore) -> Any:
    """Returns the object that reads the registry's file; None for another kind of registry."""
    return getattr(store.registry, "_registry_store", None)


def column_names(
    view: FeatureView, entities: list[Entity]
) -> tuple[list[str], list[str], str, str | None]:
    """Returns a view's join keys, features, event and created columns by their source names."""
    return _get_column_names(view, entities)


def vector_length(view: FeatureView, default: int) -> int:
    """Returns the length of a view's indexed vector, or the default if it has none."""
    return getattr(_get_feature_view_vector_field_metadata(view), "vector_length", default)


def check_vectors(table: pa.RecordBatch, view: FeatureView) -> None:
    """Raises ValueError if a vector column has values of several lengths, as Feast does."""
    _validate_vector_field_lengths(table, view)
