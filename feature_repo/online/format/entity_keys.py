"""Entity keys as Feast stores them: of one id, and of whole columns of ids."""

import struct
from collections.abc import Mapping, Sequence

import pyarrow as pa
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from feature_repo.online.format.encoding import feast_values, simplified
from feature_repo.online.format.wire_format import fixed

_LENGTH = struct.Struct("<I")
_SAMPLES = ("", "1", "Zo\u00eb", "a" * 300)
_FAST_TYPES = {ValueType.STRING: "string", ValueType.INT64: "int64"}


class EntityKeys:
    """Serialized entity keys of ids of one join key of type String.

    Such a key has the same beginning for all ids, and ends with the id's length and bytes. If the
    keys of a store differ (``is_plain`` is false), Feast serializes each of them.
    """

    def __init__(self, store: FeatureStore, join_key: str) -> None:
        self._join_keys = [join_key]
        self._version = store.config.entity_key_serialization_version
        self._head = self._by_feast("")[: -_LENGTH.size]
        self.is_plain = all(self._composed(one) == self._by_feast(one) for one in _SAMPLES)

    def __call__(self, entity_id: str) -> bytes:
        return self._composed(entity_id) if self.is_plain else self._by_feast(entity_id)

    def _composed(self, entity_id: str) -> bytes:
        data = entity_id.encode()
        return self._head + _LENGTH.pack(len(data)) + data

    def _by_feast(self, entity_id: str) -> bytes:
        key = EntityKey(join_keys=self._join_keys, entity_values=[Value(string_val=entity_id)])
        return serialize_entity_key(key, self._version)


def encode_keys(
    columns: Mapping[str, pa.Array], types: Mapping[str, ValueType], version: int
) -> list[bytes]:
    """Returns the serialized Feast entity key of every row.

    ``columns`` are the join keys by name. Raises ValueError for a null, which is no key.
    """
    simple = {name: simplified(columns[name]) for name in sorted(types)}
    if version < 3 or not all(_is_fast(simple[name], types[name]) for name in simple):
        return _keys_by_feast(simple, types, version)
    names = [name.encode() for name in simple]
    head = struct.pack("<I", len(names)) + b"".join(
        struct.pack("<II", ValueType.STRING.value, len(name)) + name for name in names
    )
    parts = [_key_part(column, types[name]) for name, column in simple.items()]
    return [head + b"".join(row) for row in zip(*parts, strict=True)]


def _is_fast(column: pa.Array, kind: ValueType) -> bool:
    return column.null_count == 0 and str(column.type) == _FAST_TYPES.get(kind)


def _key_part(column: pa.Array, kind: ValueType) -> Sequence[bytes]:
    """Returns type, length and bytes of a join key, for every row."""
    if kind == ValueType.INT64:
        head = struct.pack("<II", kind.value, 8)
        numbers = column.to_numpy().astype("<i8")
        return fixed(head, numbers)
    found = column.cast(pa.binary()).to_pylist()
    return [struct.pack("<II", kind.value, len(value)) + value for value in found]


def _keys_by_feast(
    columns: Mapping[str, pa.Array], types: Mapping[str, ValueType], version: int
) -> list[bytes]:
    values = {name: feast_values(column, types[name]) for name, column in columns.items()}
    return [
        serialize_entity_key(EntityKey(join_keys=list(values), entity_values=row), version)
        for row in zip(*values.values(), strict=True)
    ]
