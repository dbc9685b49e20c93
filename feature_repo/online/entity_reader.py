"""Reads the stored features of one entity in one round trip, with lists as arrays.

Feast reads view by view and creates a Python object for every value of a list. A service that
reads one user a request reads the same features each time. So the keys are laid out once here, and
bytes are decoded when a feature is used. The stored bytes are Feast's.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from feast import FeatureStore
from feast.feature_view import FeatureView
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.redis import RedisType
from feast.repo_config import RepoConfig

from feature_repo.feast_internals import feature_field, redis_address, redis_client_async
from feature_repo.online.format.decoding import decoder_of
from feature_repo.online.format.entity import Decode, Entity
from feature_repo.online.format.entity_keys import EntityKeys
from feature_repo.online.redis.connection import PipelinedRedis, packed
from feature_repo.online.redis.store import GuardedRedisOnlineStore
from feature_repo.online.sqlite.guard import quoted, table_of
from feature_repo.online.sqlite.store import GuardedSqliteOnlineStore

NEVER_STALE = timedelta(days=3_650)
"""Shortest ttl of a view whose rows are read without a check of their age."""

_LOGIN = {"username", "password", "db", "socket_timeout"}
"""Settings that our own connection supports; with others, such as TLS, Feast's client connects."""


class EntityReader(Protocol):
    """Reads the features of one entity by its id."""

    async def read(self, entity_id: str) -> Mapping[str, Any]:
        """Returns every feature by name, None for a missing one.

        Raises the errors of the store's client if the store is down.
        """

    async def close(self) -> None:
        """Closes the reader's connections."""


@dataclass(frozen=True)
class StoredFeature:
    """A feature to read: its view, its name, and the function that decodes its bytes."""

    view: FeatureView
    name: str
    decode: Decode


def entity_reader(
    store: FeatureStore, join_key: str, features: Mapping[str, Sequence[str]]
) -> EntityReader:
    """Returns the fastest reader for a store; ``features`` are names by view.

    The views have this one join key, of type String. Stores other than ours, and views whose rows
    can expire, are read through Feast.
    """
    online = store.provider.online_store
    views = {name: store.get_feature_view(name) for name in features}
    stored = [
        StoredFeature(views[name], feature, decoder_of(views[name], feature))
        for name, names in features.items()
        for feature in names
    ]
    never_expire = all(not view.ttl or view.ttl >= NEVER_STALE for view in views.values())
    if never_expire and isinstance(online, GuardedRedisOnlineStore):
        return RedisReader(store, online, join_key, stored)
    if never_expire and isinstance(online, GuardedSqliteOnlineStore):
        return SqliteReader(store, online, join_key, stored)
    return FeastReader(store, join_key, stored)


class RedisReader:
    """Reads an entity with one HMGET; belongs to the event loop that first uses it."""

    def __init__(
        self,
        store: FeatureStore,
        online: GuardedRedisOnlineStore,
        join_key: str,
        features: Sequence[StoredFeature],
    ) -> None:
        self._key = EntityKeys(store, join_key)
        self._project = store.project.encode()
        is_versioned = store.config.registry.enable_online_feature_view_versioning
        fields = [
            feature_field(compute_versioned_name(one.view, is_versioned), one.name)
            for one in features
        ]
        self._fields = {one.name: (place, one.decode) for place, one in enumerate(features)}
        self._hashes = _hash_reader(store.config, online, fields)

    async def read(self, entity_id: str) -> Entity:
        """Returns the stored features; bytes are decoded when they are used."""
        found = await self._hashes.read(self._key(entity_id) + self._project)
        return Entity(self._fields, found)

    async def close(self) -> None:
        """Closes the connection to Redis."""
        await self._hashes.close()


class _PipelinedHashes:
    """HMGET of the same fields on a pipelined connection; only the key is packed each time."""

    def __init__(self, redis: PipelinedRedis, fields: Sequence[bytes]) -> None:
        self._redis = redis
        command = packed("HMGET", "", *fields)
        self._before, _, self._after = command.partition(b"$0\r\n\r\n")

    async def read(self, key: bytes) -> list[bytes | None]:
        length = b"$%d\r\n" % len(key)
        command = b"".join((self._before, length, key, b"\r\n", self._after))
        return await self._redis.execute(command)

    async def close(self) -> None:
        await self._redis.close()


class _FeastHashes:
    """HMGET of the same fields on Feast's own client: for a cluster, a sentinel, or TLS."""

    def __init__(
        self, config: RepoConfig, online: GuardedRedisOnlineStore, fields: Sequence[bytes]
    ) -> None:
        self._config = config
        self._online = online
        self._fields = fields
        self._client: Any = None

    async def read(self, key: bytes) -> list[bytes | None]:
        if self._client is None:
            self._client = await redis_client_async(self._online, self._config)
        return await self._client.hmget(key, self._fields)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _hash_reader(
    config: RepoConfig, online: GuardedRedisOnlineStore, fields: Sequence[bytes]
) -> _PipelinedHashes | _FeastHashes:
    settings = config.online_store
    nodes, login = redis_address(online, settings.connection_string)
    if settings.redis_type != RedisType.redis or len(nodes) != 1 or not login.keys() <= _LOGIN:
        return _FeastHashes(config, online, fields)
    redis = PipelinedRedis(nodes[0]["host"], int(nodes[0]["port"]), login)
    return _PipelinedHashes(redis, fields)


class SqliteReader:
    """Reads an entity with one query, in a thread, since reading a file can block."""

    def __init__(
        self,
        store: FeatureStore,
        online: GuardedSqliteOnlineStore,
        join_key: str,
        features: Sequence[StoredFeature],
    ) -> None:
        self._key = EntityKeys(store, join_key)
        self._path = online.database(store.config)
        tables = list(dict.fromkeys(table_of(store.config, one.view) for one in features))
        self._places = {
            (tables.index(table_of(store.config, one.view)), one.name): place
            for place, one in enumerate(features)
        }
        self._fields = {one.name: (place, one.decode) for place, one in enumerate(features)}
        self._query = " UNION ALL ".join(
            f"SELECT {number}, feature_name, value FROM {quoted(table)} WHERE entity_key = ?1"
            for number, table in enumerate(tables)
        )
        self._threads = threading.local()

    async def read(self, entity_id: str) -> Entity:
        """Returns the stored features; bytes are decoded when they are used."""
        return await asyncio.to_thread(self._read, self._key(entity_id))

    def _read(self, key: bytes) -> Entity:
        found: list[bytes | None] = [None] * len(self._places)
        for number, name, data in self._connection().execute(self._query, (key,)):
            place = self._places.get((number, name))
            if place is not None:
                found[place] = data
        return Entity(self._fields, found)

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "connection"):
            address = f"file:{self._path}?mode=ro"
            self._threads.connection = sqlite3.connect(address, uri=True)
        return self._threads.connection

    async def close(self) -> None:
        """Does nothing: each connection is closed with its thread."""


class FeastReader:
    """Reads an entity through Feast, in a thread."""

    def __init__(
        self, store: FeatureStore, join_key: str, features: Sequence[StoredFeature]
    ) -> None:
        self._store = store
        self._join_key = join_key
        self._features = [f"{one.view.name}:{one.name}" for one in features]

    async def read(self, entity_id: str) -> Mapping[str, Any]:
        """Returns every feature by name, None for a missing one."""
        return await asyncio.to_thread(self._read, entity_id)

    def _read(self, entity_id: str) -> Mapping[str, Any]:
        rows = [{self._join_key: entity_id}]
        found = self._store.get_online_features(self._features, rows).to_dict()
        return {name: values[0] for name, values in found.items() if name != self._join_key}

    async def close(self) -> None:
        """Does nothing: the connections are Feast's."""
