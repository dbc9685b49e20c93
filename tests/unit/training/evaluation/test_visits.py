"""Quality of the list probability against its definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.visits import VisitBin, visit_quality


def test_visits_with_the_highest_probability_hold_their_redemptions():
    probability = np.arange(100) / 100
    redeemed = np.zeros(100, int)
    redeemed[[99, 95, 90, 50, 10]] = 3, 2, 1, 1, 1
    found = visit_quality(probability, redeemed)
    # The first ten are 90 to 99: six of the eight redeemed coupons.
    assert found.top_share == pytest.approx(6 / 8)
    assert (found.visits, found.base_rate) == (100, pytest.approx(0.05))


def test_equal_probabilities_find_no_more_than_their_share():
    found = visit_quality(np.full(40, 0.2), np.arange(40) < 4)
    assert found.top_share == pytest.approx(0.1)
    assert found.average_precision == pytest.approx(found.base_rate) == pytest.approx(0.1)


visits = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.9]), st.integers(0, 3)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(visits)
def test_average_precision_agrees_with_its_definition(rows):
    probability, redeemed = (np.array(column) for column in zip(*rows, strict=True))
    found = visit_quality(probability, redeemed)
    anything = redeemed > 0
    if anything.all() or not anything.any():
        assert math.isnan(found.average_precision)
        return
    expected, recall = 0.0, 0.0
    for cut in sorted(set(probability), reverse=True):
        above = probability >= cut
        now = anything[above].sum() / anything.sum()
        expected += (now - recall) * anything[above].mean()
        recall = now
    assert found.average_precision == pytest.approx(expected)


@settings(deadline=None)
@given(visits, st.integers(1, 4))
def test_weight_of_a_visit_counts_as_copies(rows, copies):
    probability, redeemed = (np.array(column) for column in zip(*rows, strict=True))
    weight = 1 + (np.arange(len(rows)) % copies)
    weighted = visit_quality(probability, redeemed, weight)
    copied = visit_quality(np.repeat(probability, weight), np.repeat(redeemed, weight))
    for name in ("base_rate", "mean_probability", "average_precision", "top_share"):
        expected = getattr(copied, name)
        assert getattr(weighted, name) == pytest.approx(expected, nan_ok=True), name


def test_order_of_the_visits_changes_nothing():
    rng = np.random.default_rng(0)
    probability, redeemed = rng.choice([0.1, 0.2, 0.5], 200), rng.integers(0, 2, 200)
    order = rng.permutation(200)
    one, other = (
        visit_quality(probability, redeemed),
        visit_quality(probability[order], redeemed[order]),
    )
    assert one.top_share == pytest.approx(other.top_share)
    assert one.average_precision == pytest.approx(other.average_precision)


def test_bins_have_equal_sizes_and_show_what_was_predicted_and_observed():
    probability = np.array([0.5, 0.1, 0.3, 0.2, np.nan])
    found = visit_quality(probability, np.array([2, 0, 1, 0, 1]), bins=2)
    assert found.bins == (
        VisitBin(pytest.approx(0.15), 0.0, 2),
        VisitBin(pytest.approx(0.4), 1.0, 2),
    )
    assert (found.visits, found.without_probability) == (4, 1)


def test_bins_of_a_sample_have_equal_weights():
    probability, weight = np.linspace(0, 1, 30), np.repeat([10.0, 1.0], 15)
    found = visit_quality(probability, np.zeros(30), weight, bins=5)
    # 165 visits: the ten redeemed ones of weight 1 stand for less than half a bin.
    assert [one.visits for one in found.bins] == [3, 4, 3, 3, 17]


def test_visits_before_the_first_calibration_have_no_quality():
    found = visit_quality(np.full(3, np.nan), np.array([0, 1, 0]))
    assert (found.visits, found.without_probability, found.bins) == (0, 3, ())
    assert math.isnan(found.average_precision) and math.isnan(found.base_rate)


def test_visits_without_a_redemption_have_no_top_share():
    found = visit_quality(np.array([0.1, 0.2]), np.zeros(2))
    assert math.isnan(found.top_share) and found.base_rate == 0.0
