"""Arithmetic on columns of features, where a null is NaN and time is int64 microseconds, UTC."""

from collections.abc import Sequence

import numpy as np

DAY_US = 86_400_000_000


def numbers(values: Sequence) -> np.ndarray:
    """Values as float64, with null as NaN."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([np.nan if value is None else value for value in array], dtype=np.float64)
    return array.astype(np.float64, copy=False)


def table(columns: Sequence[Sequence]) -> np.ndarray:
    """Columns of as many values each as the rows of one float64 array, with null as NaN."""
    return np.array(columns, dtype=np.float64)


def decay(days: np.ndarray, half_life_days: float) -> np.ndarray:
    """The factor 2 ** (-days / half_life_days)."""
    return np.exp2(-days / half_life_days)


def days_between(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Days from one instant to another; NaN where either is unknown."""
    return (later - earlier) / DAY_US


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part of whole; 0 where the whole is nothing, or where one of them is unknown."""
    some = (whole > 0) & ~np.isnan(part)
    return np.divide(part, whole, out=np.zeros(some.shape), where=some)
