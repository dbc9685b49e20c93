"""Probabilities of coupons and lists against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.policy.probability import Calibration, list_log_odds, logistic

scores = st.lists(st.floats(-8, 8), min_size=1, max_size=12)
CURVES = Calibration(0.7, -1.5, 1.2, -0.4)


@given(scores)
def test_list_probability_is_a_curve_on_the_odds_of_any_redemption(values):
    each = [1 / (1 + math.exp(-(0.7 * one - 1.5))) for one in values]
    anything = 1 - math.prod(1 - one for one in each)
    log_odds = math.log(anything / (1 - anything))
    expected = 1 / (1 + math.exp(-(1.2 * log_odds - 0.4)))
    assert CURVES.coupon_probabilities(np.array(values)) == pytest.approx(each)
    assert CURVES.list_probability(np.array(values)) == pytest.approx(expected)


@given(st.lists(scores, min_size=1, max_size=6))
def test_lists_together_get_the_probabilities_of_each_alone(lists):
    starts = np.cumsum([0, *(len(one) for one in lists[:-1])])
    found = CURVES.list_probabilities(np.concatenate(lists), starts)
    assert found == pytest.approx([CURVES.list_probability(np.array(one)) for one in lists])


@given(scores, st.floats(-8, 8))
def test_another_candidate_never_lowers_the_probability_of_the_list(values, more):
    without = CURVES.list_probability(np.array(values))
    assert CURVES.list_probability(np.array([*values, more])) >= without


def test_list_of_one_coupon_has_the_odds_of_the_coupon():
    logits = np.array([-700.0, -40.0, -3.0, 0.0, 12.0, 700.0])
    assert list_log_odds(logits, np.arange(6)) == pytest.approx(logits)


def test_extreme_scores_give_finite_log_odds_and_no_warning():
    found = list_log_odds(np.array([-1e6, -1e6, 1e6, 1e6]), np.array([0, 2]))
    assert np.isfinite(found).all() and found[0] < -700 and found[1] == 2e6
    with np.errstate(all="raise", under="ignore"):
        assert logistic(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]
        assert CURVES.list_probability(np.array([-1e6])) == 0.0


def test_float32_scores_of_a_booster_are_computed_in_float64():
    found = CURVES.coupon_probabilities(np.array([0.1], np.float32))
    assert found.dtype == np.float64


def test_list_without_a_candidate_has_probability_zero():
    assert CURVES.list_probability(np.empty(0)) == 0.0
