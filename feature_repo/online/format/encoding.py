"""Encodes Arrow columns as the bytes that Feast stores, one pass a column.

Feast creates a protobuf object for every value. Here the bytes of a whole column are laid out at
once, and they are the same bytes. A type without a fast way goes through Feast's own conversion.
There is one difference: Feast reads integers with nulls as floating point and rounds beyond
2**53. These bytes hold the integers unchanged.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, python_values_to_proto_values
from feast.value_type import ValueType

from feature_repo.online.format.wire_format import (
    Block,
    cut,
    field_head,
    fixed,
    joined,
    sized,
    tagged,
    varints,
)

_BYTES, _STRING, _INT32, _INT64, _DOUBLE, _FLOAT, _BOOL, _TIME = range(1, 9)
"""Field numbers of Feast's ``Value``; the list of a type has the same number plus ten."""

_FIELDS = {
    ValueType.BYTES: _BYTES,
    ValueType.PDF_BYTES: _BYTES,
    ValueType.IMAGE_BYTES: _BYTES,
    ValueType.STRING: _STRING,
    ValueType.INT32: _INT32,
    ValueType.INT64: _INT64,
    ValueType.DOUBLE: _DOUBLE,
    ValueType.FLOAT: _FLOAT,
    ValueType.BOOL: _BOOL,
    ValueType.UNIX_TIMESTAMP: _TIME,
}
_LISTS = {
    ValueType[f"{kind.name}_LIST"]: 10 + number
    for kind, number in _FIELDS.items()
    if f"{kind.name}_LIST" in ValueType.__members__
}

_INT32_RANGE = range(-(2**31), 2**31)


def encode_values(column: pa.Array, kind: ValueType) -> Sequence[bytes]:
    """Returns the serialized Feast ``Value`` of each row; empty bytes for a null."""
    column = simplified(column)
    if kind in _FIELDS and (encoded := _scalars(column, _FIELDS[kind])) is not None:
        return encoded
    if kind in _LISTS and (encoded := _lists(column, _LISTS[kind])) is not None:
        return encoded
    return [value.SerializeToString() for value in feast_values(column, kind)]


def encode_instants(microseconds: np.ndarray) -> list[bytes]:
    """Returns serialized protobuf ``Timestamp`` values of int64 microseconds since 1970, UTC."""
    seconds, rest = np.divmod(microseconds, 1_000_000)
    parts = []
    for head, numbers in ((b"\x08", seconds), (b"\x10", rest * 1000)):
        encoded = tagged(head, numbers)
        parts.append(_replaced(encoded, numbers == 0, b""))
    return [first + second for first, second in zip(*parts, strict=True)]


def column_microseconds(column: pa.Array) -> np.ndarray:
    """Returns instants as int64 microseconds since 1970, UTC; a null is the least int64."""
    found = simplified(column).to_numpy(zero_copy_only=False)
    return found.astype("datetime64[us]").astype(np.int64)


def texts(column: pa.Array, kind: ValueType) -> list[str | None]:
    """Returns the texts that Feast's SQLite store keeps beside values; None where it has none."""
    column = simplified(column)
    if kind == ValueType.STRING and kinds.is_string(column.type):
        return column.to_pylist()
    if kind in (ValueType.INT32, ValueType.INT64) and kinds.is_integer(column.type):
        return _as_text(column.to_pylist())
    if kind == ValueType.DOUBLE and kinds.is_float64(column.type):
        return _as_text(_nan_is_null(column))
    if kind in _LISTS or kind in (ValueType.BYTES, ValueType.UNIX_TIMESTAMP):
        return [None] * len(column)
    return [extract_text_and_num(value, False)[0] for value in feast_values(column, kind)]


def _as_text(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def _nan_is_null(column: pa.Array) -> Sequence[float | None]:
    found = column.to_numpy(zero_copy_only=False)
    return _replaced(found.tolist(), np.isnan(found), None)


def simplified(column: pa.Array) -> pa.Array:
    """Returns a column in one chunk and in the simplest type that holds the same values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kinds.is_large_string(column.type) or kinds.is_string_view(column.type):
        return column.cast(pa.string())
    if kinds.is_large_binary(column.type) or kinds.is_binary_view(column.type):
        return column.cast(pa.binary())
    if kinds.is_fixed_size_list(column.type) or kinds.is_large_list(column.type):
        return column.cast(pa.list_(column.type.value_type))
    return column


def feast_values(column: pa.Array, kind: ValueType) -> list[Value]:
    """Converts a column to Feast's ``Value`` objects by Feast's own code."""
    return python_values_to_proto_values(column.to_numpy(zero_copy_only=False), kind)


def _scalars(column: pa.Array, field: int) -> Sequence[bytes] | None:
    """Encodes a scalar column; returns None if only Feast can."""
    type_ = column.type
    if field in (_DOUBLE, _FLOAT) and _is_float(type_, field):
        found = column.to_numpy(zero_copy_only=False)
        floats = fixed(field_head(field, 1 if field == _DOUBLE else 5), _floats(found, field))
        return _replaced(floats, np.isnan(found), b"")
    if field in (_STRING, _BYTES) and (kinds.is_string(type_) or kinds.is_binary(type_)):
        if kinds.is_string(type_) != (field == _STRING):
            return None
        found = column.cast(pa.binary()).fill_null(b"").to_pylist()
        return _replaced(sized(field_head(field, 2), found), _nulls(column), b"")
    numbers = _numbers(column, field)
    if numbers is None:
        return None
    encoded = tagged(field_head(field, 0), numbers)
    # Feast stores a null instant as a value too: its sentinel for "no time".
    return encoded if field == _TIME else _replaced(encoded, _nulls(column), b"")


def _lists(column: pa.Array, field: int) -> Sequence[bytes] | None:
    """Encodes a list column; returns None if only Feast can."""
    if not kinds.is_list(column.type):
        return None
    offsets = column.offsets.to_numpy()
    entries = simplified(column.values)
    if (block := _equal_lengths(column, entries, field)) is not None:
        return block
    packed = _packed(entries, field - 10)
    if packed is None:
        return None
    buffer, ends, repeated = packed
    edges = np.concatenate([[0], ends])[offsets]
    inner = cut(buffer, edges[:-1], edges[1:])
    if not repeated:
        # Numbers share one packed field, which is absent in an empty list.
        inner = [entry and one for entry, one in zip(inner, sized(b"\n", inner), strict=True)]
    return _replaced(sized(field_head(field, 2), inner), _nulls(column), b"")


def _equal_lengths(column: pa.Array, entries: pa.Array, field: int) -> Block | None:
    """Encodes float lists of one length, such as vectors, in one block; None for other lists."""
    offsets = column.offsets.to_numpy()
    length = int(offsets[1] - offsets[0]) if len(column) else 0
    floats = kinds.is_float64(entries.type) or kinds.is_float32(entries.type)
    if field not in (10 + _DOUBLE, 10 + _FLOAT) or not floats or not length or column.null_count:
        return None
    if (np.diff(offsets) != length).any():
        return None
    within = entries.slice(offsets[0], length * len(column)).to_numpy(zero_copy_only=False)
    numbers = _floats(within, field - 10).reshape(len(column), length)
    [head] = sized(b"\n", [bytes(length * numbers.itemsize)])
    [head] = sized(field_head(field, 2), [head])
    return fixed(head[: -length * numbers.itemsize], numbers)


def _packed(entries: pa.Array, field: int) -> tuple[bytes, np.ndarray, bool] | None:
    """Encodes the entries of all lists; returns None if only Feast can.

    Returns one buffer, the end of each entry, and true if each entry is a field of its own.
    """
    type_ = entries.type
    if field in (_DOUBLE, _FLOAT) and (kinds.is_float64(type_) or kinds.is_float32(type_)):
        found = _floats(entries.to_numpy(zero_copy_only=False), field)
        return found.tobytes(), np.arange(1, len(found) + 1) * found.itemsize, False
    if field in (_STRING, _BYTES) and kinds.is_string(type_) == (field == _STRING):
        if not (kinds.is_string(type_) or kinds.is_binary(type_)):
            return None
        framed = sized(b"\n", entries.cast(pa.binary()).fill_null(b"").to_pylist())
        return b"".join(framed), np.cumsum([len(one) for one in framed], dtype=np.int64), True
    numbers = _listed_numbers(entries, field)
    if numbers is None:
        return None
    rows, lengths = varints(numbers)
    return joined(rows, lengths), np.cumsum(lengths), False


def _listed_numbers(entries: pa.Array, field: int) -> np.ndarray | None:
    """Returns the entries of lists as int64; None if they do not fit their field.

    Feast's rules for nulls and instants differ inside a list.
    """
    if field == _TIME:
        if not kinds.is_timestamp(entries.type) or entries.type.unit == "ns":
            return None
        found = column_microseconds(entries)
        whole = np.where(found < 0, -(-found // 1_000_000), found // 1_000_000)
        return np.where(_nulls(entries), NULL_TIMESTAMP_INT_VALUE, whole)
    if field != _BOOL and entries.null_count:
        return None
    return _numbers(entries, field)


def _numbers(column: pa.Array, field: int) -> np.ndarray | None:
    """Returns a column as int64 with 0 for null; None if its type does not fit the field."""
    type_ = column.type
    if field == _TIME and kinds.is_timestamp(type_):
        found = column.to_numpy(zero_copy_only=False)
        return found.astype("datetime64[s]").astype(np.int64)
    if field == _BOOL and kinds.is_boolean(type_):
        return column.fill_null(False).cast(pa.int8()).to_numpy().astype(np.int64)
    if field not in (_INT32, _INT64) or not kinds.is_integer(type_) or type_ == pa.uint64():
        return None
    numbers = column.fill_null(0).cast(pa.int64()).to_numpy()
    fits = field == _INT64 or not len(numbers) or _is_int32(numbers)
    return numbers if fits else None


def _is_int32(numbers: np.ndarray) -> bool:
    return int(numbers.min()) in _INT32_RANGE and int(numbers.max()) in _INT32_RANGE


def _is_float(type_: pa.DataType, field: int) -> bool:
    return kinds.is_float64(type_) or (field == _FLOAT and kinds.is_float32(type_))


def _floats(numbers: np.ndarray, field: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return numbers.astype("<f8" if field == _DOUBLE else "<f4")


def _nulls(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _replaced(values: Sequence[Any], where: np.ndarray, by: Any) -> Sequence[Any]:
    if not where.any():
        return values
    replaced = list(values)
    for row in np.flatnonzero(where):
        replaced[row] = by
    return replaced
