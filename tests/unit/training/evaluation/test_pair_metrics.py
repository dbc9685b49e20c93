"""AUC, average precision and calibration against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.pair_metrics import calibration_bins, pair_metrics


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_redeemed_pairs_that_score_above_others(pairs):
    label, score = (np.array(values, float) for values in zip(*pairs, strict=True))
    found = pair_metrics(label, score)["auc"]
    wins = [(a > b) + 0.5 * (a == b) for a in score[label > 0] for b in score[label == 0]]
    assert np.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


def test_average_precision_of_a_perfect_order_is_1():
    assert pair_metrics(np.array([0, 1, 1]), np.array([0.1, 0.7, 0.2]))["average_precision"] == 1.0


def test_bins_have_equal_sizes_and_leave_out_pairs_without_a_probability():
    probability = np.array([np.nan, 0.4, 0.1, 0.2, 0.3])
    found = calibration_bins(np.array([1, 1, 0, 0, 1]), probability, bins=2)
    assert found == [(pytest.approx(0.15), 0.0, 2), (pytest.approx(0.35), 1.0, 2)]
