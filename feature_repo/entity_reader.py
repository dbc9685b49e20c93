"""Reads what is stored of one entity in one round trip, with lists as arrays.

Feast answers a request view by view and makes a Python object of every value of a list. A service
that reads one user a request asks for the same features each time: here the keys are laid out once,
and a list comes out of its bytes as it is. The stored bytes are Feast's.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from feast import FeatureStore
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.sqlite import _quote_id
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType

from feature_repo.online_store import GuardedRedisOnlineStore, GuardedSqliteOnlineStore, table_of

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

Decode = Callable[[bytes], Any]
Entity = Mapping[str, Any]
"""Features by name: None for one that is not known, an array for a list of numbers."""


class EntityReader(Protocol):
    """Reads the features of one entity by its id."""

    async def read(self, entity_id: str) -> Entity:
        """Every feature; may raise what the store's client raises when the store is down."""

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
        self._config = store.config
        self._online = online
        self._key = _KeyOf(store, join_key)
        self._project = store.project.encode()
        versioned = store.config.registry.enable_online_feature_view_versioning
        self._fields = [
            _mmh3(f"{compute_versioned_name(one.view, versioned)}:{one.name}") for one in wanted
        ]
        self._names = [(one.name, one.decode) for one in wanted]
        self._client: Any = None

    async def read(self, entity_id: str) -> Entity:
        if self._client is None:
            self._client = await self._online._get_client_async(self._config.online_store)
        found = await self._client.hmget(self._key(entity_id) + self._project, self._fields)
        return {
            name: decode(data) if data else None
            for (name, decode), data in zip(self._names, found, strict=True)
        }

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class SqliteReader:
    """One query an entity, in a thread, since the file may make it wait."""

    def __init__(
        self,
        store: FeatureStore,
        online: GuardedSqliteOnlineStore,
        join_key: str,
        wanted: Sequence[Wanted],
    ) -> None:
        self._key = _KeyOf(store, join_key)
        self._path = online._get_db_path(store.config)
        tables = list(dict.fromkeys(table_of(store.config, one.view) for one in wanted))
        self._decoders = {
            (tables.index(table_of(store.config, one.view)), one.name): one.decode for one in wanted
        }
        self._nothing = dict.fromkeys(one.name for one in wanted)
        self._query = " UNION ALL ".join(
            f"SELECT {number}, feature_name, value FROM {_quote_id(table)} WHERE entity_key = ?1"
            for number, table in enumerate(tables)
        )
        self._held = threading.local()

    async def read(self, entity_id: str) -> Entity:
        return await asyncio.to_thread(self._read, self._key(entity_id))

    def _read(self, key: bytes) -> Entity:
        found = dict(self._nothing)
        for number, name, data in self._connection().execute(self._query, (key,)):
            decode = self._decoders.get((number, name))
            if decode is not None and data:
                found[name] = decode(data)
        return found

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

    async def read(self, entity_id: str) -> Entity:
        return await asyncio.to_thread(self._read, entity_id)

    def _read(self, entity_id: str) -> Entity:
        rows = [{self._join_key: entity_id}]
        found = self._store.get_online_features(self._features, rows).to_dict()
        return {name: values[0] for name, values in found.items() if name != self._join_key}

    async def close(self) -> None:
        """Feast holds what it opened."""


class _KeyOf:
    """The serialized entity key of an id."""

    def __init__(self, store: FeatureStore, join_key: str) -> None:
        self._join_keys = [join_key]
        self._version = store.config.entity_key_serialization_version

    def __call__(self, entity_id: str) -> bytes:
        key = EntityKey(join_keys=self._join_keys, entity_values=[Value(string_val=entity_id)])
        return serialize_entity_key(key, self._version)


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
