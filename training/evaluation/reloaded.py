"""Measurements of a model that was loaded again: changed scores, and the latency of scoring."""

import statistics
import time
from collections.abc import Callable

import numpy as np

CANDIDATES = 100
"""Candidates that are scored in one measurement of the latency."""

REPEATS = 50
"""Measurements; their median is the latency."""


def changed_scores(scores: np.ndarray, expected: np.ndarray) -> int:
    """Counts the scores that differ from the expected ones, bit for bit in float32.

    >>> changed_scores(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    1
    """
    bits = (np.asarray(values, np.float32).view(np.uint32) for values in (scores, expected))
    return int(np.not_equal(*bits).sum())


def median_latency(
    score: Callable[[np.ndarray], object],
    inputs: np.ndarray,
    timer: Callable[[], float] = time.perf_counter,
) -> float:
    """Returns the median time of scoring 100 candidates, in milliseconds.

    ``inputs`` has one row for each candidate. Its rows are repeated if there are fewer than 100.
    ``timer`` returns seconds.
    """
    rows = np.resize(inputs, (CANDIDATES, inputs.shape[1]))
    seconds = []
    for _ in range(REPEATS):
        start = timer()
        score(rows)
        seconds.append(timer() - start)
    return 1000 * statistics.median(seconds)
