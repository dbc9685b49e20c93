"""Columns of the rows that were found, brought into the order of the rows that asked for them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa


def places_of(numbers: pa.ChunkedArray) -> np.ndarray:
    """Where each number from 0 is in a column that holds them in no order, some maybe twice."""
    numbers = numbers.to_numpy()
    places = np.zeros(numbers.max() + 1 if len(numbers) else 0, dtype=np.int64)
    places[numbers] = np.arange(len(numbers))
    return places


def in_order(
    columns: Sequence[pa.ChunkedArray], places: np.ndarray, threads: int
) -> Iterator[pa.Array]:
    """Each column's values at ``places``, null at -1.

    The list of columns is emptied on the way, so that no second copy of all of them is ever there.
    """
    indices = pa.array(np.maximum(places, 0), mask=places < 0)

    def ordered(position: int) -> pa.Array:
        column, columns[position] = columns[position].combine_chunks(), None
        width = _width(column)
        return _vectors(column, places, width) if width else column.take(indices)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(ordered, range(len(columns)))


def _width(column: pa.Array) -> int:
    """How many numbers each list of a column holds if all are vectors of one length, else 0."""
    if not pa.types.is_list(column.type) or not len(column) or column.null_count:
        return 0
    numeric = pa.types.is_floating(column.type.value_type)
    lengths = np.diff(column.offsets.to_numpy())
    same = numeric and (lengths == lengths[0]).all() and not column.flatten().null_count
    return int(lengths[0]) if same else 0


def _vectors(column: pa.ListArray, places: np.ndarray, width: int) -> pa.ListArray:
    """``take`` for vectors of one length, which Arrow copies number by number."""
    found = places >= 0
    source = column.flatten().to_numpy().reshape(-1, width)
    values = np.take(source, places[found], axis=0, mode="clip")
    ends = np.cumsum(found) * width
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    return pa.ListArray.from_arrays(
        offsets, pa.array(values.ravel()), column.type, mask=pa.array(~found)
    )
