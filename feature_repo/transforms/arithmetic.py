"""Arithmetic on feature columns: null is NaN, instants are microseconds since the epoch, UTC."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feature_repo.instants import DAY


def numbers(values: Sequence[Any]) -> np.ndarray:
    """Converts values to float64, with null as NaN.

    >>> numbers([1, None, 2.5])
    array([1. , nan, 2.5])
    """
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([np.nan if value is None else value for value in array], dtype=np.float64)
    return array.astype(np.float64, copy=False)


def table(columns: Sequence[Sequence[Any]]) -> np.ndarray:
    """Converts columns of equal length to one float64 array, a row for each column; null is NaN.

    >>> table([[1, None], [3, 4]])
    array([[ 1., nan],
           [ 3.,  4.]])
    """
    return np.array(columns, dtype=np.float64)


def decay(days: np.ndarray, half_life_days: float) -> np.ndarray:
    """Returns the factor 2 ** (-days / half_life_days).

    >>> decay(np.array([0.0, 30.0, 60.0]), 30)
    array([1.  , 0.5 , 0.25])
    """
    return np.exp2(-days / half_life_days)


def days_between(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Returns the days from one instant to another; NaN if one of them is NaN.

    >>> days_between(np.array([0.0, np.nan]), np.array([DAY * 1.5, DAY]))
    array([1.5, nan])
    """
    return (later - earlier) / DAY


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides part by whole; 0 if the whole is 0 or one of them is NaN.

    >>> ratio(np.array([1.0, 1.0, np.nan]), np.array([4.0, 0.0, 2.0]))
    array([0.25, 0.  , 0.  ])
    """
    is_defined = (whole > 0) & ~np.isnan(part)
    return np.divide(part, whole, out=np.zeros(is_defined.shape), where=is_defined)
