"""Brings columns of fetched source rows into the order of the entity rows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa


def positions_of(numbers: pa.ChunkedArray) -> np.ndarray:
    """Returns the position of each number from 0 in an unordered column.

    Of a number that occurs twice, any position is returned.
    """
    numbers = numbers.to_numpy()
    positions = np.zeros(numbers.max() + 1 if len(numbers) else 0, dtype=np.int64)
    positions[numbers] = np.arange(len(numbers))
    return positions


def reordered(columns: list[Any], positions: np.ndarray, threads: int) -> Iterator[pa.Array]:
    """Yields each chunked column's values at ``positions``; null where a position is -1.

    Replaces each column in the list by None, so that memory never holds two copies of all columns.
    """
    indices = pa.array(np.maximum(positions, 0), mask=positions < 0)

    def reorder(place: int) -> pa.Array:
        column, columns[place] = columns[place].combine_chunks(), None
        width = _vector_width(column)
        return _take_vectors(column, positions, width) if width else column.take(indices)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(reorder, range(len(columns)))


def _vector_width(column: pa.Array) -> int:
    """Returns the length of a column's lists if all are float vectors of one length, else 0."""
    if not pa.types.is_list(column.type) or not len(column) or column.null_count:
        return 0
    is_numeric = pa.types.is_floating(column.type.value_type)
    lengths = np.diff(column.offsets.to_numpy())
    is_even = is_numeric and (lengths == lengths[0]).all() and not column.flatten().null_count
    return int(lengths[0]) if is_even else 0


def _take_vectors(column: pa.ListArray, positions: np.ndarray, width: int) -> pa.ListArray:
    """Takes vectors of one length by position; Arrow's ``take`` copies them number by number."""
    found = positions >= 0
    source = column.flatten().to_numpy().reshape(-1, width)
    values = np.take(source, positions[found], axis=0, mode="clip")
    ends = np.cumsum(found) * width
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    return pa.ListArray.from_arrays(
        offsets, pa.array(values.ravel()), column.type, mask=pa.array(~found)
    )
