"""The fit of a calibration against a general optimizer, planted curves and samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from serving.policy.probability import Calibration, list_log_odds
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import RankingFrame, take
from training.models.probability import (
    CalibrationError,
    fit_calibration,
    fit_settled,
    logistic_curve,
    settled_visits,
)

SIZE = 6
PLANTED = (1.4, -5.0)


def visits(count: int, seed: int = 0) -> tuple[RankingFrame, np.ndarray]:
    """Draws visits whose coupons are redeemed independently with the odds of ``PLANTED``."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=count * SIZE)
    odds = PLANTED[0] * scores + PLANTED[1]
    label = rng.random(len(scores)) < 1 / (1 + np.exp(-odds))
    return ranking_frame(numbered("q", count, SIZE), label), scores


FRAME, SCORES = visits(8_000)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_curve_maximizes_the_weighted_likelihood_of_smoothed_labels(seed):
    rng = np.random.default_rng(seed)
    x, label = rng.normal(3.0, 5.0, 60), rng.random(60) < 0.3
    label[:2] = True, False
    weight = rng.choice([1.0, 7.5], 60)
    positives, negatives = weight[label].sum(), weight[~label].sum()
    y = np.where(label, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(found):
        p = 1 / (1 + np.exp(-np.clip(found[0] * x + found[1], -500, 500)))
        return -(weight * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum()

    ours = np.array(logistic_curve(x, label, weight))
    best = minimize(loss, ours + 0.1, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert loss(ours) <= best.fun + 1e-7
    assert ours == pytest.approx(best.x, abs=1e-3)


def lists_of(found, frame, scores):
    """Returns the probability of every list."""
    return found.of_requests(scores, frame.inputs, np.arange(0, len(frame), SIZE))[1]


def test_curve_through_planted_odds_is_found():
    found = fit_calibration(FRAME, SCORES, ())
    assert (found.coupon_slope, found.coupon_intercept) == pytest.approx(PLANTED, abs=0.12)
    # Coupons are redeemed independently here, so the product needs no correction.
    assert (found.list_slope, found.list_intercept) == pytest.approx((1.0, 0.0), abs=0.15)


def test_list_curve_corrects_a_product_that_assumes_independence():
    """Every visit redeems all of its coupons or none, so the product is far too high."""
    rng = np.random.default_rng(1)
    redeemed = np.repeat(rng.random(3_000) < 0.1, SIZE)
    frame = ranking_frame(numbered("q", 3_000, SIZE), redeemed)
    scores = np.repeat(rng.normal(size=3_000), SIZE) + 1.5 * redeemed
    found = fit_calibration(frame, scores, ())
    starts = np.arange(0, len(frame), SIZE)
    lists = lists_of(found, frame, scores)
    assert lists.mean() == pytest.approx(redeemed[::SIZE].mean(), abs=0.005)
    logits = found.coupon_slope * scores + found.coupon_intercept
    assert (1 / (1 + np.exp(-list_log_odds(logits, starts)))).mean() > 1.5 * lists.mean()


def test_sample_of_the_other_visits_with_their_weight_stands_for_all_of_them():
    whole = fit_calibration(FRAME, SCORES)
    redeemed = np.repeat(FRAME.label.reshape(-1, SIZE).any(axis=1), SIZE)
    drawn = np.repeat(np.random.default_rng(5).random(len(FRAME) // SIZE) < 0.25, SIZE)
    kept = redeemed | drawn
    sample = take(replace(FRAME, weight=np.where(redeemed, 1, 4).astype(np.float32)), kept)
    found = fit_calibration(sample, SCORES[kept])
    expected = lists_of(whole, FRAME, SCORES).mean()
    assert lists_of(found, FRAME, SCORES).mean() == pytest.approx(expected, rel=0.03)
    unweighted = fit_calibration(replace(sample, weight=np.ones(len(sample))), SCORES[kept])
    assert lists_of(unweighted, FRAME, SCORES).mean() > 1.5 * expected


def test_weight_of_two_counts_as_two_copies():
    frame, scores = visits(200, seed=4)
    frame = replace(frame, label=frame.label | (np.arange(len(frame)) % 11 == 0))
    doubled = replace(frame, weight=np.full(len(frame), 2, np.float32))
    twice = ranking_frame(numbered("q", 400, SIZE), np.tile(frame.label, 2))
    expected = fit_calibration(twice, np.tile(scores, 2))
    found = fit_calibration(doubled, scores)
    names = ("coupon_slope", "coupon_intercept", "list_slope", "list_intercept", "coupon_scale")
    for name in names:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-3)


def test_probabilities_sum_to_the_redemptions_of_visits_and_of_coupons():
    found = fit_calibration(FRAME, SCORES)
    coupons, lists = found.of_requests(SCORES, FRAME.inputs, np.arange(0, len(FRAME), SIZE))
    observed = FRAME.label.reshape(-1, SIZE).any(axis=1).mean()
    assert lists.mean() == pytest.approx(observed, abs=1e-3)
    assert coupons.sum() == pytest.approx(FRAME.label.sum(), rel=1e-4)


def test_equal_scores_give_the_base_rate_and_slope_zero():
    found = fit_calibration(FRAME, np.full(len(FRAME), 3.0))
    assert found.coupon_slope == pytest.approx(0.0, abs=1e-9)
    lists = lists_of(found, FRAME, np.full(len(FRAME), 3.0))
    assert lists[0] == pytest.approx(FRAME.label.reshape(-1, SIZE).any(axis=1).mean(), abs=1e-3)


def test_habit_of_the_user_is_learned_where_the_scores_say_nothing_of_it():
    """Users with redemptions before redeem ten times as often, whatever the scores."""
    rng = np.random.default_rng(3)
    habit = np.repeat(rng.random(4_000) < 0.3, SIZE)
    label = rng.random(len(habit)) < np.where(habit, 0.05, 0.005)
    frame = ranking_frame(
        numbered("q", 4_000, SIZE), label, redemption_count_90d=np.where(habit, 9.0, 0.0)
    )
    scores = rng.normal(size=len(frame))
    lists, has_habit = lists_of(fit_calibration(frame, scores), frame, scores), habit[::SIZE]
    observed = frame.label.reshape(-1, SIZE).any(axis=1)
    for part in (has_habit, ~has_habit):
        assert lists[part].mean() == pytest.approx(observed[part].mean(), abs=0.01)
    without = lists_of(fit_calibration(frame, scores, ()), frame, scores)
    assert abs(without[has_habit].mean() - observed[has_habit].mean()) > 0.1


def test_scores_that_separate_the_labels_give_a_finite_curve():
    found = fit_calibration(FRAME, FRAME.label * 10.0)
    assert isinstance(found, Calibration) and np.isfinite(found.coupon_slope)
    _, unlikely = found.of_request(np.zeros(SIZE), FRAME.inputs[:SIZE])
    _, likely = found.of_request(np.array([10.0] + [0.0] * (SIZE - 1)), FRAME.inputs[:SIZE])
    assert unlikely < 0.02 and likely > 0.9


def test_visit_counts_only_if_all_of_its_pairs_are_settled():
    frame = ranking_frame(
        ["a", "a", "b", "b", "c", "c"],
        [1, 0, 1, 0, 0, 0],
        open_until=[50, 50, 99, 99, 50, 50],
        learned=[40, 1, 40, 1, 1, 1],
    )
    # The redemption of visit b is known, but its other coupon is not settled yet.
    assert settled_visits(frame, 60).tolist() == [True, True, False, False, True, True]
    assert settled_visits(frame, 40).tolist() == [False] * 6


def test_calibration_reads_nothing_of_visits_that_are_not_settled():
    until = np.where(np.arange(len(FRAME)) < len(FRAME) // 2, 1, 1000)
    known = replace(FRAME, open_until=until, learned=until - 1)
    changed = replace(known, label=np.where(until > 1, 1 - FRAME.label, FRAME.label))
    found = fit_settled(known, SCORES, cutoff=500)
    assert found == fit_settled(changed, SCORES, cutoff=500)
    assert found != fit_settled(changed, SCORES, cutoff=1001)


@pytest.mark.parametrize("label", [0, 1])
def test_window_without_both_kinds_of_visits_is_refused(label):
    frame = ranking_frame(numbered("q", 3, 2), np.full(6, label))
    with pytest.raises(CalibrationError, match=f"got {3 * label} with one of 3: use a longer"):
        fit_calibration(frame, np.arange(6.0))


def test_empty_window_is_refused():
    with pytest.raises(CalibrationError, match="got 0 with one of 0"):
        fit_settled(FRAME, SCORES, cutoff=0)
