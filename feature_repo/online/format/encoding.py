"""Arrow columns as the bytes that Feast stores: one pass over a column, not one object a value.

Feast makes a protobuf object of every value before it is written. Here the bytes of a whole
column are laid out at once; they are the same bytes. A type without a fast way goes through
Feast's own conversion. One thing differs: Feast reads a column of integers that has nulls as
floating point and rounds beyond 2**53, and these bytes hold the integers as they are.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
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
"""Numbers of the fields of Feast's ``Value``; the list of a type is ten further."""

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

_KEY_TYPES = {ValueType.STRING: "string", ValueType.INT64: "int64"}
_INT32_RANGE = range(-(2**31), 2**31)


def encode_values(column: pa.Array, kind: ValueType) -> Sequence[bytes]:
    """The serialized Feast ``Value`` of every entry of a column; empty bytes for a null."""
    column = _plain(column)
    if kind in _FIELDS and (encoded := _scalars(column, _FIELDS[kind])) is not None:
        return encoded
    if kind in _LISTS and (encoded := _lists(column, _LISTS[kind])) is not None:
        return encoded
    return [value.SerializeToString() for value in _by_feast(column, kind)]


def encode_keys(columns: Mapping[str, pa.Array], types: Mapping[str, ValueType], version: int):
    """The serialized Feast entity key of every row, as a list of bytes.

    ``columns`` are the join keys by name. Raises ValueError for a null, which is no key.
    """
    plain = {name: _plain(columns[name]) for name in sorted(types)}
    if version < 3 or not all(_is_plain_key(plain[name], types[name]) for name in plain):
        return _keys_by_feast(plain, types, version)
    names = [name.encode() for name in plain]
    head = struct.pack("<I", len(names)) + b"".join(
        struct.pack("<II", ValueType.STRING.value, len(name)) + name for name in names
    )
    parts = [_key_part(column, types[name]) for name, column in plain.items()]
    return [head + b"".join(row) for row in zip(*parts, strict=True)]


def encode_instants(microseconds: np.ndarray) -> list[bytes]:
    """The serialized protobuf ``Timestamp`` of instants in int64 microseconds since 1970, UTC."""
    seconds, rest = np.divmod(microseconds, 1_000_000)
    parts = []
    for head, numbers in ((b"\x08", seconds), (b"\x10", rest * 1000)):
        encoded = tagged(head, numbers)
        parts.append(_replaced(encoded, numbers == 0, b""))
    return [first + second for first, second in zip(*parts, strict=True)]


def instants(column: pa.Array) -> np.ndarray:
    """The instants of a column in int64 microseconds since 1970, UTC; a null is the least int64."""
    found = _plain(column).to_numpy(zero_copy_only=False)
    return found.astype("datetime64[us]").astype(np.int64)


def texts(column: pa.Array, kind: ValueType) -> list[str | None]:
    """What Feast's SQLite store writes as text beside the value; None where it writes none."""
    column = _plain(column)
    if kind == ValueType.STRING and kinds.is_string(column.type):
        return column.to_pylist()
    if kind in (ValueType.INT32, ValueType.INT64) and kinds.is_integer(column.type):
        return _as_text(column.to_pylist())
    if kind == ValueType.DOUBLE and kinds.is_float64(column.type):
        return _as_text(_nan_is_null(column))
    if kind in _LISTS or kind in (ValueType.BYTES, ValueType.UNIX_TIMESTAMP):
        return [None] * len(column)
    return [extract_text_and_num(value, False)[0] for value in _by_feast(column, kind)]


def _as_text(values: Iterable) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def _nan_is_null(column: pa.Array) -> list[float | None]:
    found = column.to_numpy(zero_copy_only=False)
    return _replaced(found.tolist(), np.isnan(found), None)


def _plain(column: pa.Array) -> pa.Array:
    """A column in one piece and in the simplest type that holds the same values."""
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


def _by_feast(column: pa.Array, kind: ValueType) -> list[Value]:
    return python_values_to_proto_values(column.to_numpy(zero_copy_only=False), kind)


def _scalars(column: pa.Array, field: int) -> Sequence[bytes] | None:
    """The encoded values of a scalar column, or None if only Feast knows how."""
    type_ = column.type
    if field in (_DOUBLE, _FLOAT) and _is_float(type_, field):
        found = column.to_numpy(zero_copy_only=False)
        encoded = fixed(field_head(field, 1 if field == _DOUBLE else 5), _floats(found, field))
        return _replaced(encoded, np.isnan(found), b"")
    if field in (_STRING, _BYTES) and (kinds.is_string(type_) or kinds.is_binary(type_)):
        if kinds.is_string(type_) != (field == _STRING):
            return None
        found = column.cast(pa.binary()).fill_null(b"").to_pylist()
        return _replaced(sized(field_head(field, 2), found), _nulls(column), b"")
    numbers = _numbers(column, field)
    if numbers is None:
        return None
    encoded = tagged(field_head(field, 0), numbers)
    # A null instant is stored as one: Feast writes its mark for "no time".
    return encoded if field == _TIME else _replaced(encoded, _nulls(column), b"")


def _lists(column: pa.Array, field: int) -> Sequence[bytes] | None:
    """The encoded values of a list column, or None if only Feast knows how."""
    if not kinds.is_list(column.type):
        return None
    offsets = column.offsets.to_numpy()
    entries = _plain(column.values)
    if (block := _even(column, entries, field)) is not None:
        return block
    packed = _packed(entries, field - 10)
    if packed is None:
        return None
    buffer, ends, repeated = packed
    edges = np.concatenate([[0], ends])[offsets]
    inner = cut(buffer, edges[:-1], edges[1:])
    if not repeated:
        # Numbers stand in one packed field, which is left out where there are none.
        inner = [entry and one for entry, one in zip(inner, sized(b"\n", inner), strict=True)]
    return _replaced(sized(field_head(field, 2), inner), _nulls(column), b"")


def _even(column: pa.Array, entries: pa.Array, field: int) -> Block | None:
    """Lists of floats that all have the same length, vectors above all, in one piece."""
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
    """The entries of all lists as one buffer, where each ends, and whether each is a field."""
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
    """The whole numbers of lists; Feast's rules for nulls and instants differ inside a list."""
    if field == _TIME:
        if not kinds.is_timestamp(entries.type) or entries.type.unit == "ns":
            return None
        found = instants(entries)
        whole = np.where(found < 0, -(-found // 1_000_000), found // 1_000_000)
        return np.where(_nulls(entries), NULL_TIMESTAMP_INT_VALUE, whole)
    if field != _BOOL and entries.null_count:
        return None
    return _numbers(entries, field)


def _numbers(column: pa.Array, field: int) -> np.ndarray | None:
    """A column as int64, 0 for null; None if it does not hold what its field wants."""
    type_ = column.type
    if field == _TIME and kinds.is_timestamp(type_):
        found = column.to_numpy(zero_copy_only=False)
        return found.astype("datetime64[s]").astype(np.int64)
    if field == _BOOL and kinds.is_boolean(type_):
        return column.fill_null(False).cast(pa.int8()).to_numpy().astype(np.int64)
    if field not in (_INT32, _INT64) or not kinds.is_integer(type_) or type_ == pa.uint64():
        return None
    numbers = column.fill_null(0).cast(pa.int64()).to_numpy()
    narrow = field == _INT64 or not len(numbers) or _in_range(numbers)
    return numbers if narrow else None


def _in_range(numbers: np.ndarray) -> bool:
    return int(numbers.min()) in _INT32_RANGE and int(numbers.max()) in _INT32_RANGE


def _is_float(type_: pa.DataType, field: int) -> bool:
    return kinds.is_float64(type_) or (field == _FLOAT and kinds.is_float32(type_))


def _floats(numbers: np.ndarray, field: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return numbers.astype("<f8" if field == _DOUBLE else "<f4")


def _nulls(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _replaced(values: Sequence, where: np.ndarray, by) -> Sequence:
    if not where.any():
        return values
    values = list(values)
    for row in np.flatnonzero(where):
        values[row] = by
    return values


def _is_plain_key(column: pa.Array, kind: ValueType) -> bool:
    return column.null_count == 0 and str(column.type) == _KEY_TYPES.get(kind)


def _key_part(column: pa.Array, kind: ValueType) -> Sequence[bytes]:
    """Type, length and bytes of a join key, for every row."""
    if kind == ValueType.INT64:
        head = struct.pack("<II", kind.value, 8)
        numbers = column.to_numpy().astype("<i8")
        return fixed(head, numbers)
    found = column.cast(pa.binary()).to_pylist()
    return [struct.pack("<II", kind.value, len(value)) + value for value in found]


def _keys_by_feast(columns: Mapping, types: Mapping, version: int) -> list[bytes]:
    values = {name: _by_feast(column, types[name]) for name, column in columns.items()}
    return [
        serialize_entity_key(EntityKey(join_keys=list(values), entity_values=row), version)
        for row in zip(*values.values(), strict=True)
    ]
