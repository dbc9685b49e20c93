"""AUC, average precision and calibration against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.pair_metrics import (
    calibration_bins,
    cross_calibrated,
    forward_calibrated,
    pair_metrics,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_redeemed_pairs_that_score_above_others(pairs):
    label, score = (np.array(values, float) for values in zip(*pairs, strict=True))
    found = pair_metrics(label, score)["auc"]
    wins = [(a > b) + 0.5 * (a == b) for a in score[label > 0] for b in score[label == 0]]
    assert np.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


def test_average_precision_of_a_perfect_order_is_1():
    assert pair_metrics(np.array([0, 1, 1]), np.array([0.1, 0.7, 0.2]))["average_precision"] == 1.0


def test_fold_is_calibrated_only_on_earlier_folds():
    rng = np.random.default_rng(0)
    fold = np.repeat([1, 2, 3], 400)
    score = rng.normal(size=1200)
    label = (rng.random(1200) < 1 / (1 + np.exp(3 - score))).astype(int)
    found = forward_calibrated(fold, label, score)
    assert np.isnan(found[fold == 1]).all()
    later = label.copy()
    later[fold == 3] = 1 - later[fold == 3]
    assert (forward_calibrated(fold, later, score)[fold == 2] == found[fold == 2]).all()
    assert found[fold == 3].mean() == pytest.approx(label[fold < 3].mean(), abs=0.02)


def test_fold_is_calibrated_only_on_outcomes_settled_at_its_start():
    fold = np.repeat([1, 2], 40)
    label, score = np.tile([0, 0, 0, 1], 20), np.tile([0.1, 0.2, 0.3, 0.9], 20)
    still_open = np.arange(80) >= 20

    def found(outcome: np.ndarray) -> np.ndarray:
        return forward_calibrated(fold, outcome, score, lambda start: ~still_open)

    later = np.where(still_open, 1 - label, label)
    np.testing.assert_array_equal(found(later)[fold == 2], found(label)[fold == 2])
    nothing = forward_calibrated(fold, label, score, lambda start: np.zeros(80, bool))
    assert np.isnan(nothing).all()


def test_bins_have_equal_sizes_and_leave_out_pairs_without_a_probability():
    probability = np.array([np.nan, 0.4, 0.1, 0.2, 0.3])
    found = calibration_bins(np.array([1, 1, 0, 0, 1]), probability, bins=2)
    assert found == [(pytest.approx(0.15), 0.0, 2), (pytest.approx(0.35), 1.0, 2)]


def test_each_half_of_the_users_is_calibrated_on_the_other_half():
    rng = np.random.default_rng(0)
    users = np.repeat(np.array([f"u{n}" for n in range(200)], object), 20)
    score = rng.normal(size=4000)
    label = (rng.random(4000) < 1 / (1 + np.exp(2 - score))).astype(int)
    found = cross_calibrated(users, label, score, seed=0)
    assert not np.isnan(found).any()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(2 - score)), atol=0.08)
    changed = label.copy()
    changed[users == "u7"] = 1 - changed[users == "u7"]
    moved = cross_calibrated(users, changed, score, seed=0) != found
    assert not moved[users == "u7"].any() and 0.4 < moved.mean() < 0.6


def test_probability_is_nan_without_a_redeemed_pair():
    users = np.array(["a", "b", "c", "d"], object)
    assert np.isnan(cross_calibrated(users, np.zeros(4), np.arange(4.0), seed=0)).all()
