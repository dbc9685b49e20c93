"""Probabilities of coupons and lists against their definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.policy.probability import Calibration, list_log_odds, logistic

scores = st.lists(st.floats(-8, 8), min_size=1, max_size=12)
USED = RANKER_INPUTS.index("redemption_count_90d")
CURVES = Calibration(0.7, -1.5, 1.2, -0.4, ("redemption_count_90d",), (0.6,), 1.7)


def rows(count: int, used: float = 0.0) -> np.ndarray:
    """Returns the inputs of candidates of a user with ``used`` redemptions in 90 days."""
    inputs = np.full((count, len(RANKER_INPUTS)), np.nan, np.float32)
    inputs[:, USED] = used
    return inputs


def probability(values, used: float = 0.0) -> float:
    return CURVES.of_request(np.array(values), rows(len(values), used))[1]


@given(scores, st.integers(0, 40))
def test_probabilities_are_their_formulas(values, used):
    # -log(1 - p) of each candidate, and of any of them: exact for the smallest probabilities.
    hazards = [math.log1p(math.exp(0.7 * one - 1.5)) for one in values]
    logit = 1.2 * math.log(math.expm1(sum(hazards))) - 0.4 + 0.6 * math.log(1 + used)
    whole = 1.7 * math.log1p(math.exp(logit))
    expected = [-math.expm1(-whole * one / sum(hazards)) for one in hazards]
    coupons, found = CURVES.of_request(np.array(values), rows(len(values), used))
    assert found == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-9)
    assert coupons == pytest.approx(expected, rel=1e-9)


@given(scores)
def test_coupons_of_scale_one_give_the_probability_of_their_list(values):
    curves = replace(CURVES, coupon_scale=1.0)
    coupons, found = curves.of_request(np.array(values), rows(len(values)))
    assert 1 - np.prod(1 - coupons) == pytest.approx(found)


@given(st.lists(st.tuples(scores, st.integers(0, 9)), min_size=1, max_size=6))
def test_lists_together_get_the_probabilities_of_each_alone(lists):
    starts = np.cumsum([0, *(len(one) for one, _ in lists[:-1])])
    inputs = np.concatenate([rows(len(one), used) for one, used in lists])
    coupons, found = CURVES.of_requests(np.concatenate([one for one, _ in lists]), inputs, starts)
    alone = [CURVES.of_request(np.array(one), rows(len(one), used)) for one, used in lists]
    assert found == pytest.approx([one[1] for one in alone])
    assert coupons == pytest.approx(np.concatenate([one[0] for one in alone]))


@given(scores, st.floats(-8, 8))
def test_another_candidate_never_lowers_the_probability_of_the_list(values, more):
    assert probability([*values, more]) >= probability(values)


def test_user_who_redeems_more_has_a_higher_probability_and_an_unknown_count_is_none():
    assert probability([1.0], 5) > probability([1.0], 1) > probability([1.0], 0)
    assert probability([1.0], math.nan) == probability([1.0], 0)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no json",
        CURVES.to_json().replace("redemption_count_90d", "shoe_size"),
        CURVES.to_json().replace("[0.6]", "[]"),
    ],
)
def test_damaged_text_is_refused(text):
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        Calibration.from_json(text)


def test_list_of_one_coupon_has_the_odds_of_the_coupon():
    logits = np.array([-700.0, -40.0, -3.0, 0.0, 12.0, 700.0])
    assert list_log_odds(logits, np.arange(6)) == pytest.approx(logits)


def test_extreme_scores_give_finite_log_odds_and_no_warning():
    found = list_log_odds(np.array([-1e6, -1e6, 1e6, 1e6]), np.array([0, 2]))
    assert np.isfinite(found).all() and found[0] < -700 and found[1] == 2e6
    with np.errstate(all="raise", under="ignore"):
        assert logistic(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]
        assert probability([-1e6]) == 0.0


def test_float32_scores_of_a_booster_are_computed_in_float64():
    found, _ = CURVES.of_request(np.array([0.1], np.float32), rows(1))
    assert found.dtype == np.float64


def test_list_without_a_candidate_has_probability_zero():
    assert probability([]) == 0.0
