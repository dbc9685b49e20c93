"""Reordered columns: equal to the result of Arrow's take."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.offline.reorder import positions_of, reordered

VECTORS = pa.list_(pa.float64())
FEATURES = {
    "numbers": (pa.int64(), [[1, None], [3]]),
    "texts": (pa.string(), [["a"], ["", None]]),
    "vectors": (VECTORS, [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]),
    "empty vectors": (VECTORS, [[[], []], [[]]]),
    "lists of several lengths": (VECTORS, [[[1.0], []], [[2.0, 3.0]]]),
    "vectors, one missing": (VECTORS, [[[1.0]], [None, [3.0]]]),
    "vectors, one number missing": (VECTORS, [[[1.0]], [[None], [3.0]]]),
    "vectors of texts": (pa.list_(pa.string()), [[["a"]], [["b"], ["c"]]]),
}


def values_and_result(kind, chunks, positions):
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks])
    [found] = reordered([column], np.array(positions, dtype=np.int64), threads=2)
    assert found.type == kind
    found.validate(full=True)
    return column.to_pylist(), found.to_pylist()


@pytest.mark.parametrize("name", FEATURES)
@settings(deadline=None)
@given(positions=st.lists(st.integers(-1, 2)))
def test_every_row_gets_the_value_at_its_position_and_null_at_minus_one(name, positions):
    values, found = values_and_result(*FEATURES[name], positions)
    assert found == [None if place < 0 else values[place] for place in positions]


@pytest.mark.parametrize("kind", [pa.int64(), VECTORS])
def test_without_source_rows_every_value_is_null(kind):
    assert values_and_result(kind, [[]], [-1, -1]) == ([], [None, None])


def test_each_column_is_dropped_once_it_is_read():
    columns = [pa.chunked_array([[1, 2]]), pa.chunked_array([[3, 4]])]
    assert len(list(reordered(columns, np.array([1]), threads=1))) == 2
    assert columns == [None, None]


@given(st.permutations(range(6)))
def test_each_number_is_at_its_position(numbers):
    positions = positions_of(pa.chunked_array([numbers]))
    assert [numbers[place] for place in positions] == list(range(6))
