"""Columns encoded in one pass: the same bytes that Feast writes value by value."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

FAR = 2**53
"""Beyond it Feast rounds the integers of a column that has nulls."""

whole = st.integers(-FAR, FAR) | st.sampled_from((0, -1, 127, 128, 2**31, -(2**31) - 1))
narrow = st.integers(-(2**31), 2**31 - 1)
double = st.floats() | st.sampled_from((0.0, -0.0, 1e308, float("inf"), float("nan")))
single = st.floats(width=32)
letters = st.text(max_size=12) | st.sampled_from(("", "Käse", "чай", "🛒" * 40, "x" * 300))
raw = st.binary(max_size=12) | st.just(b"\0" * 200)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
TIME = pa.timestamp("us", "UTC")

SCALARS = {
    "DOUBLE": [(pa.float64(), double)],
    "FLOAT": [(pa.float32(), single), (pa.float64(), double)],
    "INT64": [(pa.int64(), whole), (pa.int32(), narrow), (pa.uint8(), st.integers(0, 255))],
    "INT32": [(pa.int32(), narrow), (pa.int64(), narrow)],
    "BOOL": [(pa.bool_(), st.booleans())],
    "STRING": [(pa.string(), letters), (pa.large_string(), letters)],
    "BYTES": [(pa.binary(), raw.filter(bool))],
    "UNIX_TIMESTAMP": [(TIME, moments), (pa.timestamp("ns"), moments), (pa.int64(), whole)],
}
LISTS = {
    "DOUBLE": [(pa.float64(), double), (pa.float32(), single)],
    "FLOAT": [(pa.float32(), single), (pa.float64(), double)],
    "INT64": [(pa.int64(), whole), (pa.int32(), narrow)],
    "INT32": [(pa.int32(), narrow), (pa.int64(), narrow)],
    "BOOL": [(pa.bool_(), st.booleans())],
    "STRING": [(pa.string(), letters)],
    "BYTES": [(pa.binary(), raw)],
    "UNIX_TIMESTAMP": [(TIME, moments), (pa.timestamp("ms"), moments)],
}
NO_NULL_INSIDE = {"INT64", "INT32"}
"""Feast refuses a null among the integers of a list."""


def rows(values):
    return st.lists(st.none() | values, max_size=8)


def cases(types: dict, build):
    every = [(kind, *one) for kind, several in types.items() for one in several]
    return st.sampled_from(every).flatmap(lambda case: build(*case))


def scalar(kind: str, type_: pa.DataType, values):
    return rows(values).map(lambda found: (kind, pa.array(found, type_)))


def listed(kind: str, type_: pa.DataType, values):
    inside = values if kind in NO_NULL_INSIDE else st.none() | values
    several = rows(st.lists(inside, max_size=6))
    return several.map(lambda found: (f"{kind}_LIST", pa.array(found, pa.list_(type_))))


def by_feast(column: pa.Array, kind: str) -> list:
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    return python_values_to_proto_values(column.to_numpy(zero_copy_only=False), ValueType[kind])


def ours(column: pa.Array, kind: str) -> list[bytes]:
    from feast.value_type import ValueType

    from feature_repo.online.format.encoding import encode_values

    return encode_values(column, ValueType[kind])


@settings(max_examples=400, deadline=None)
@given(case=cases(SCALARS, scalar) | cases(LISTS, listed))
@example(case=("DOUBLE", pa.array([None, None], pa.float64())))
@example(case=("DOUBLE_LIST", pa.array([[], None, [None]], pa.list_(pa.float64()))))
@example(case=("UNIX_TIMESTAMP", pa.array([None], TIME)))
def test_values_have_the_bytes_of_feast(case):
    kind, column = case
    stored = [value.SerializeToString() for value in by_feast(column, kind)]
    assert list(ours(column, kind)) == stored


@settings(max_examples=200, deadline=None)
@given(case=cases(SCALARS, scalar) | cases(LISTS, listed))
def test_text_beside_a_value_equals_feast_s(case):
    from feast.infra.online_stores.helpers import extract_text_and_num
    from feast.value_type import ValueType

    from feature_repo.online.format.encoding import texts

    kind, column = case
    theirs = [extract_text_and_num(value, False)[0] for value in by_feast(column, kind)]
    assert texts(column, ValueType[kind]) == theirs


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("UUID", pa.array(["0b7e2f9e-3a55-4a57-a54d-4ee2ce2e1d92", None])),
        ("MAP", pa.array([{"a": 1}, {"a": 2}])),
        ("JSON", pa.array(['{"a": [1, 2]}', None])),
        ("INT64_SET", pa.array([[1, 2, 2], None])),
        ("DECIMAL", pa.array(["1.50", None])),
        ("VALUE_LIST", pa.array([[[1], [2, 3]], None])),
        ("INT64", pa.array([1.0, 2.0, None])),
        ("UNIX_TIMESTAMP_LIST", pa.array([[datetime(2020, 1, 1)]], pa.list_(pa.timestamp("ns")))),
    ],
)
def test_a_type_without_a_fast_way_goes_through_feast(kind, column):
    stored = [value.SerializeToString() for value in by_feast(column, kind)]
    assert list(ours(column, kind)) == stored


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("STRING", pa.array(["a", None, "a"]).dictionary_encode()),
        ("DOUBLE_LIST", pa.array([[1.5, 2.5], None], pa.list_(pa.float64(), 2))),
        ("DOUBLE_LIST", pa.array([[1.5], [], None], pa.large_list(pa.float64()))),
        ("STRING_LIST", pa.array([["a"], ["b", None], None, ["c"]]).slice(1, 2)),
        ("INT64", pa.chunked_array([[1, None], [3]])),
    ],
)
def test_the_layout_of_a_column_does_not_matter(kind, column):
    simple = pa.array(column.to_pylist())
    assert ours(column, kind) == [value.SerializeToString() for value in by_feast(simple, kind)]


def test_integers_beside_a_null_are_not_rounded():
    from feast.protos.feast.types.Value_pb2 import Value

    (encoded, null) = ours(pa.array([2**63 - 1, None]), "INT64")
    assert Value.FromString(encoded).int64_val == 2**63 - 1
    assert null == b""


def test_integer_out_of_range_is_refused_as_in_feast():
    with pytest.raises(ValueError, match="out of range"):
        ours(pa.array([2**31]), "INT32")


KEYS = st.sampled_from(
    (
        {"user_id": ("STRING", pa.string(), letters)},
        {"user_id": ("INT64", pa.int64(), st.integers(-(2**63), 2**63 - 1))},
        {"b": ("STRING", pa.string(), letters), "a": ("INT64", pa.int64(), whole)},
        {"é": ("INT32", pa.int32(), narrow), "a": ("STRING", pa.string(), letters)},
    )
)


@settings(max_examples=100, deadline=None)
@given(spec=KEYS, data=st.data())
def test_entity_keys_have_the_bytes_of_feast(spec, data):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.value_type import ValueType

    from feature_repo.online.format.entity_keys import encode_keys

    count = data.draw(st.integers(0, 5))
    columns = {
        name: pa.array(data.draw(st.lists(values, min_size=count, max_size=count)), type_)
        for name, (_, type_, values) in spec.items()
    }
    protos = [by_feast(columns[name], kind) for name, (kind, _, _) in spec.items()]
    theirs = [
        serialize_entity_key(EntityKey(join_keys=list(spec), entity_values=row), 3)
        for row in zip(*protos, strict=True)
    ]
    types = {name: ValueType[kind] for name, (kind, _, _) in spec.items()}
    assert encode_keys(columns, types, 3) == theirs


def test_null_entity_key_is_refused():
    from feast.value_type import ValueType

    from feature_repo.online.format.entity_keys import encode_keys

    with pytest.raises(ValueError, match="Value type not supported"):
        encode_keys({"user_id": pa.array(["u1", None])}, {"user_id": ValueType.STRING}, 3)


@settings(max_examples=200, deadline=None)
@given(found=st.lists(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), max_size=5))
@example(found=[datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 1)])
def test_instants_have_the_bytes_of_feast_to_the_microsecond(found):
    from feature_repo.online.format.encoding import column_microseconds, encode_instants

    theirs = []
    for at in found:
        proto = Timestamp()
        proto.FromDatetime(at.replace(tzinfo=UTC))
        theirs.append(proto.SerializeToString())
    counted = column_microseconds(pa.array(found, pa.timestamp("us")))
    epoch = datetime(1970, 1, 1)
    assert counted.tolist() == [(at - epoch) // timedelta(microseconds=1) for at in found]
    assert encode_instants(counted) == theirs
    assert counted.dtype == np.int64
