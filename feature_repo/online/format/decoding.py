"""Decoders of stored features: from the bytes of a Feast ``Value`` to arrays, lists and scalars."""

from typing import Any

import numpy as np
from feast.feature_view import FeatureView
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType

from feature_repo.online.format.entity import Decode

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


def decoder_of(view: FeatureView, feature: str) -> Decode:
    """Returns the function that decodes the stored bytes of a feature.

    It returns None for a stored null. Types without a fast way are decoded by Feast.
    """
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
        # Feast writes a null in a column of objects as a Value without a field.
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
