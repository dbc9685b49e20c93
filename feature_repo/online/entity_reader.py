"""Reads what is stored of one entity in one round trip, with lists as arrays.

Feast answers a request view by view and makes a Python object of every value of a list. A service
that reads one user a request asks for the same features each time: here the keys are laid out once,
and bytes become values when somebody asks for them. The stored bytes are Feast's.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import hiredis
import numpy as np
from feast import FeatureStore
from feast.feature_view import FeatureView
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisType
from feast.infra.online_stores.sqlite import _quote_id
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType

from feature_repo.online.format.entity import Decode, Entity
from feature_repo.online.format.entity_keys import EntityKeys
from feature_repo.online.format.redis_hash import RedisLine
from feature_repo.online.format.tables import table_of
from feature_repo.online.redis.store import GuardedRedisOnlineStore
from feature_repo.online.sqlite.store import GuardedSqliteOnlineStore

NEVER_STALE = timedelta(days=3_650)
"""Rows of a view with a ttl from here on are read without a look at their age."""

_SCALARS = {
    ValueType.STRING: "string_val",
    ValueType.INT32: "int32_val",
    ValueType.INT64: "int64_val",
    ValueType.FLOAT: "float_val",
    ValueType.DOUBLE: "double_val",
    ValueType.BOOL: "bool_val",
}
_NUMBERS = {
    ValueType.INT32_LIST: "int32_list_val",
    ValueType.INT64_LIST: "int64_list_val",
    ValueType.FLOAT_LIST: "float_list_val",
    ValueType.DOUBLE_LIST: "double_list_val",
}
_TEXTS = {ValueType.STRING_LIST: "string_list_val"}

_LOGIN = {"username", "password", "db", "socket_timeout"}
"""Settings that one line of questions knows; with others, such as TLS, Feast's client connects."""


class EntityReader(Protocol):
    """Reads the features of one entity by its id."""

    async def read(self, entity_id: str) -> Mapping[str, Any]:
        """Every feature by name, None for one that is not known.

        May raise what the store's client raises when the store is down.
        """

    async def close(self) -> None:
        """Give back what the reader holds."""


@dataclass(frozen=True)
class Wanted:
    """A feature that is read: its view, its name, and how its bytes become a value."""

    view: FeatureView
    name: str
    decode: Decode


def entity_reader(
    store: FeatureStore, join_key: str, features: Mapping[str, Sequence[str]]
) -> EntityReader:
    """The quickest reader for a store's online side; ``features`` are names by view.

    The views have the one join key, of type String. A store of another kind than ours, or a view
    whose rows can become too old, is read through Feast.
    """
    online = store._get_provider().online_store
    views = {name: store.get_feature_view(name) for name in features}
    wanted = [
        Wanted(views[name], feature, _decoder(views[name], feature))
        for name, names in features.items()
        for feature in names
    ]
    plain = all(not view.ttl or view.ttl >= NEVER_STALE for view in views.values())
    if plain and isinstance(online, GuardedRedisOnlineStore):
        return RedisReader(store, online, join_key, wanted)
    if plain and isinstance(online, GuardedSqliteOnlineStore):
        return SqliteReader(store, online, join_key, wanted)
    return FeastReader(store, join_key, wanted)


class RedisReader:
    """One HMGET an entity; it belongs to the event loop that first reads with it."""

    def __init__(
        self,
        store: FeatureStore,
        online: GuardedRedisOnlineStore,
        join_key: str,
        wanted: Sequence[Wanted],
    ) -> None:
        self._key = EntityKeys(store, join_key)
        self._project = store.project.encode()
        versioned = store.config.registry.enable_online_feature_view_versioning
        self._stored = [
            _mmh3(f"{compute_versioned_name(one.view, versioned)}:{one.name}") for one in wanted
        ]
        self._fields = {one.name: (place, one.decode) for place, one in enumerate(wanted)}
        self._questions = _questions(store.config.online_store, online, self._stored)

    async def read(self, entity_id: str) -> Entity:
        found = await self._questions.ask(self._key(entity_id) + self._project)
        return Entity(self._fields, found)

    async def close(self) -> None:
        await self._questions.close()


class _Hmget:
    """HMGET of the same fields over a line of questions: the command is packed but for its key."""

    def __init__(self, line: RedisLine, fields: Sequence[bytes]) -> None:
        self._line = line
        packed = hiredis.pack_command(("HMGET", "", *fields))
        self._before, _, self._after = packed.partition(b"$0\r\n\r\n")

    async def ask(self, key: bytes) -> list[bytes | None]:
        length = b"$%d\r\n" % len(key)
        return await self._line.ask(b"".join((self._before, length, key, b"\r\n", self._after)))

    async def close(self) -> None:
        await self._line.close()


class _FeastHmget:
    """The same over the client that Feast makes: for a cluster, a sentinel, or TLS."""

    def __init__(
        self, config: Any, online: GuardedRedisOnlineStore, fields: Sequence[bytes]
    ) -> None:
        self._config = config
        self._online = online
        self._fields = fields
        self._client: Any = None

    async def ask(self, key: bytes) -> list[bytes | None]:
        if self._client is None:
            self._client = await self._online._get_client_async(self._config)
        return await self._client.hmget(key, self._fields)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _questions(
    config: Any, online: GuardedRedisOnlineStore, fields: Sequence[bytes]
) -> _Hmget | _FeastHmget:
    nodes, settings = online._parse_connection_string(config.connection_string)
    if config.redis_type != RedisType.redis or len(nodes) != 1 or not settings.keys() <= _LOGIN:
        return _FeastHmget(config, online, fields)
    return _Hmget(RedisLine(nodes[0]["host"], int(nodes[0]["port"]), settings), fields)


class SqliteReader:
    """One query an entity, in a thread, since the file may make it wait."""

    def __init__(
        self,
        store: FeatureStore,
        online: GuardedSqliteOnlineStore,
        join_key: str,
        wanted: Sequence[Wanted],
    ) -> None:
        self._key = EntityKeys(store, join_key)
        self._path = online._get_db_path(store.config)
        tables = list(dict.fromkeys(table_of(store.config, one.view) for one in wanted))
        self._places = {
            (tables.index(table_of(store.config, one.view)), one.name): place
            for place, one in enumerate(wanted)
        }
        self._fields = {one.name: (place, one.decode) for place, one in enumerate(wanted)}
        self._query = " UNION ALL ".join(
            f"SELECT {number}, feature_name, value FROM {_quote_id(table)} WHERE entity_key = ?1"
            for number, table in enumerate(tables)
        )
        self._held = threading.local()

    async def read(self, entity_id: str) -> Entity:
        return await asyncio.to_thread(self._read, self._key(entity_id))

    def _read(self, key: bytes) -> Entity:
        found: list[bytes | None] = [None] * len(self._places)
        for number, name, data in self._connection().execute(self._query, (key,)):
            place = self._places.get((number, name))
            if place is not None:
                found[place] = data
        return Entity(self._fields, found)

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._held, "connection"):
            address = f"file:{self._path}?mode=ro"
            self._held.connection = sqlite3.connect(address, uri=True)
        return self._held.connection

    async def close(self) -> None:
        """Connections end with their threads."""


class FeastReader:
    """Feast's own way, in a thread."""

    def __init__(self, store: FeatureStore, join_key: str, wanted: Sequence[Wanted]) -> None:
        self._store = store
        self._join_key = join_key
        self._features = [f"{one.view.name}:{one.name}" for one in wanted]

    async def read(self, entity_id: str) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._read, entity_id)

    def _read(self, entity_id: str) -> Mapping[str, Any]:
        rows = [{self._join_key: entity_id}]
        found = self._store.get_online_features(self._features, rows).to_dict()
        return {name: values[0] for name, values in found.items() if name != self._join_key}

    async def close(self) -> None:
        """Feast holds what it opened."""


def _decoder(view: FeatureView, feature: str) -> Decode:
    kind = next(one.dtype.to_value_type() for one in view.features if one.name == feature)
    if kind in _SCALARS:
        return _scalar(_SCALARS[kind])
    if kind in _NUMBERS:
        return _numbers(_NUMBERS[kind])
    if kind in _TEXTS:
        return _texts(_TEXTS[kind])
    return lambda data: feast_value_type_to_python_type(Value.FromString(data))


def _scalar(field: str) -> Decode:
    def decode(data: bytes) -> Any:
        value = Value.FromString(data)
        # A value of nothing, as Feast writes a null that it was given as an object.
        return getattr(value, field) if value.HasField(field) else None

    return decode


def _numbers(field: str) -> Decode:
    def decode(data: bytes) -> np.ndarray | None:
        value = Value.FromString(data)
        return np.array(getattr(value, field).val) if value.HasField(field) else None

    return decode


def _texts(field: str) -> Decode:
    def decode(data: bytes) -> list[str] | None:
        value = Value.FromString(data)
        return getattr(value, field).val[:] if value.HasField(field) else None

    return decode
