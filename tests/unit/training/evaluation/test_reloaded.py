"""Measurements of a model that was loaded again."""

import numpy as np
import pytest

from training.evaluation.reloaded import changed_scores, median_latency


def test_latency_is_the_median_of_scoring_one_hundred_candidates():
    inputs = np.random.default_rng(0).random((30, 7), dtype=np.float32)
    seen, ticks = [], iter(np.cumsum([0, 0.003, 1, 0.002, 1, 0.5] + [1, 0.003] * 100))
    latency = median_latency(seen.append, inputs, lambda: next(ticks))
    assert latency == pytest.approx(3.0)
    assert {rows.shape for rows in seen} == {(100, 7)}
    np.testing.assert_array_equal(seen[0][30:60], inputs)


def test_scores_are_compared_bit_for_bit():
    scores = np.array([1.0, 2.0, 3.0], np.float32)
    assert changed_scores(scores, scores.astype(np.float64)) == 0
    assert changed_scores(scores, np.nextafter(scores, np.float32(9))) == 3
    assert changed_scores(scores, np.full(3, np.nan)) == 3
