"""The keys under which Feast stores entities, put together from what it writes for all of them."""

import struct

from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

_LENGTH = struct.Struct("<I")
_SAMPLES = ("", "1", "Zo\u00eb", "a" * 300)


class EntityKeys:
    """The serialized entity key of an id, of one join key of type String.

    Such a key begins alike for all ids and ends with the id's length and bytes. Where a store's
    keys are of another kind (``is_plain`` is false), Feast is asked each time.
    """

    def __init__(self, store: FeatureStore, join_key: str) -> None:
        self._join_keys = [join_key]
        self._version = store.config.entity_key_serialization_version
        self._head = self._whole("")[: -_LENGTH.size]
        self.is_plain = all(self._composed(one) == self._whole(one) for one in _SAMPLES)

    def __call__(self, entity_id: str) -> bytes:
        return self._composed(entity_id) if self.is_plain else self._whole(entity_id)

    def _composed(self, entity_id: str) -> bytes:
        data = entity_id.encode()
        return self._head + _LENGTH.pack(len(data)) + data

    def _whole(self, entity_id: str) -> bytes:
        key = EntityKey(join_keys=self._join_keys, entity_values=[Value(string_val=entity_id)])
        return serialize_entity_key(key, self._version)
