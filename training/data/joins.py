"""Joins of arrays by equal keys, for tables that are too large for a loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def join(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of all pairs of equal keys: in ``left`` and in ``right``.

    The pairs are in the order of ``left``, then of ``right``.

    >>> [places.tolist() for places in join(np.array([7, 8]), np.array([8, 7, 8]))]
    [[0, 1, 1], [1, 0, 2]]
    """
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low, high = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    row, place = runs(low, high - low)
    return row, order[place]


def runs(first: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expands runs of consecutive numbers: the run of each element, and the element.

    >>> [values.tolist() for values in runs(np.array([5, 0]), np.array([2, 1]))]
    [[0, 0, 1], [5, 6, 0]]
    """
    run = np.repeat(np.arange(len(size)), size)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(size) - size, size)
    return run, first[run] + offset


def ids(values: Sequence[Any]) -> np.ndarray:
    """Converts a column of ids to an object array."""
    return np.asarray(values, dtype=object)


def codes(values: np.ndarray) -> dict[str, int]:
    """Numbers the distinct values from 0, in the order of their first place."""
    return {value: code for code, value in enumerate(dict.fromkeys(values))}


def encode(values: np.ndarray, known: Mapping[str, int]) -> np.ndarray:
    """Returns the code of every value; a value without a code gets ``len(known)``."""
    return np.fromiter((known.get(value, len(known)) for value in values), np.int64, len(values))
