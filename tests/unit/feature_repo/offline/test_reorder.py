"""Columns in the order of the rows that asked for them equal what Arrow's take would give."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.offline.reorder import in_order, places_of

VECTORS = pa.list_(pa.float64())
FEATURES = {
    "numbers": (pa.int64(), [[1, None], [3]]),
    "texts": (pa.string(), [["a"], ["", None]]),
    "vectors": (VECTORS, [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]),
    "vectors of nothing": (VECTORS, [[[], []], [[]]]),
    "lists of several lengths": (VECTORS, [[[1.0], []], [[2.0, 3.0]]]),
    "vectors, one missing": (VECTORS, [[[1.0]], [None, [3.0]]]),
    "vectors, one number missing": (VECTORS, [[[1.0]], [[None], [3.0]]]),
    "vectors of texts": (pa.list_(pa.string()), [[["a"]], [["b"], ["c"]]]),
}


def ordered(kind, chunks, places):
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks])
    [found] = in_order([column], np.array(places, dtype=np.int64), threads=2)
    assert found.type == kind
    found.validate(full=True)
    return column.to_pylist(), found.to_pylist()


@pytest.mark.parametrize("name", FEATURES)
@settings(deadline=None)
@given(places=st.lists(st.integers(-1, 2)))
def test_every_row_gets_the_value_at_its_place_and_null_where_it_has_none(name, places):
    values, found = ordered(*FEATURES[name], places)
    assert found == [None if place < 0 else values[place] for place in places]


@pytest.mark.parametrize("kind", [pa.int64(), VECTORS])
def test_where_nothing_was_found_all_is_null(kind):
    assert ordered(kind, [[]], [-1, -1]) == ([], [None, None])


def test_columns_go_as_they_are_read():
    columns = [pa.chunked_array([[1, 2]]), pa.chunked_array([[3, 4]])]
    assert len(list(in_order(columns, np.array([1]), threads=1))) == 2
    assert columns == [None, None]


@given(st.permutations(range(6)))
def test_places_are_where_the_numbers_stand(numbers):
    places = places_of(pa.chunked_array([numbers]))
    assert [numbers[place] for place in places] == list(range(6))
