"""The gate: what passes, what fails, and that every reason has its figures."""

from dataclasses import FrozenInstanceError, replace

import pytest

from training.evaluation.compare import Comparison, SliceComparison
from training.registry.promotion_gate import Gate, Measured, decide

BETTER = Comparison("own_purchases", 0.52, 0.50, 0.02, 0.005, 0.035, 297, 200)
LEVEL = Comparison("champion", 0.52, 0.52, 0.0, 0.0, 0.0, 297, 200)
SLICE = SliceComparison("history", "cold", 80, replace(BETTER, low=-0.01, groups=80))
GOOD = Measured("ndcg@10", BETTER, None, (SLICE,), None, 0, 5000, 1.2)


def _slice(groups=80, low=-0.05, high=0.02):
    return replace(SLICE, groups=groups, against=replace(BETTER, low=low, high=high, groups=groups))


def _fails_alone(name, **changes):
    """The reason of the one check that does not hold."""
    decision = decide(Gate(), replace(GOOD, **changes))
    assert not decision.passed
    failed = [check for check in decision.checks if not check.held]
    assert [check.name for check in failed] == [name]
    return failed[0].reason


def test_ranker_surely_better_than_the_rule_passes_while_there_is_no_champion():
    decision = decide(Gate(), GOOD)
    assert (decision.passed, decision.verdict) == (True, "no_champion")


def test_gate_cannot_be_changed_once_it_is_stated():
    with pytest.raises(FrozenInstanceError):
        Gate().champion_margin = 1.0


def test_primary_metric_is_named_in_advance_and_no_other_is_judged():
    with pytest.raises(ValueError, match="Expected ndcg@10.*got mrr"):
        decide(Gate(), replace(GOOD, metric="mrr"))


def test_too_few_groups_fail_however_good_the_ranker_is():
    few = replace(BETTER, difference=0.4, low=0.3, groups=99)
    assert _fails_alone("enough groups", against_rule=few) == (
        "99 test groups with a redeemed coupon are too few: at least 100 are needed."
    )


@pytest.mark.parametrize("low", [0.0, -0.0001, -0.2])
def test_ranker_that_may_be_level_with_the_rule_fails_though_its_mean_is_above(low):
    reason = _fails_alone("better than the best plain rule", against_rule=replace(BETTER, low=low))
    assert f"from {low:+.4f} to +0.0350; the lower bound is not above +0.0000" in reason


def test_ranker_that_may_lose_the_margin_to_the_champion_fails():
    worse = replace(LEVEL, difference=-0.004, low=-0.01, high=0.012)
    assert _fails_alone("no worse than the champion", against_champion=worse).endswith(
        "a difference of -0.0040, with 95% confidence from -0.0100 to +0.0120; the lower bound is "
        "not above -0.0100."
    )


def test_slice_that_surely_falls_fails_the_gate_and_is_named():
    reason = _fails_alone("no slice falls", slices=(SLICE, _slice(low=-0.2, high=-0.0001)))
    assert "1 fall: history cold (+0.0200 to own_purchases, at most -0.0001, 80 groups)" in reason


def test_slice_whose_interval_reaches_zero_does_not_fall():
    assert decide(Gate(), replace(GOOD, slices=(_slice(low=-0.2, high=0.0),))).passed


def test_slice_of_too_few_groups_is_named_as_not_judged_even_if_it_falls():
    small = _slice(groups=29, low=-0.2, high=-0.1)
    empty = SliceComparison("age", "unknown", 0, None)
    decision = decide(Gate(), replace(GOOD, slices=(SLICE, small, empty)))
    assert decision.passed
    (said,) = (check.reason for check in decision.checks if check.name == "no slice falls")
    assert said == (
        "Of 1 slices with at least 30 groups none falls; not judged, for too few groups: "
        "history cold (29), age unknown (0)."
    )
    assert not decide(Gate(least_slice_groups=29), replace(GOOD, slices=(small,))).passed


def test_invalid_training_frame_fails_with_its_problem():
    reason = _fails_alone("valid training frame", frame_problem="Expected pairs, got none.")
    assert reason == "Invalid frame: Expected pairs, got none."


def test_one_pair_that_the_re_loaded_model_scores_otherwise_fails():
    assert "1 of 5,000 test pairs" in _fails_alone("re-loaded model scores alike", differing=1)


def test_re_loaded_model_that_scored_nothing_fails():
    _fails_alone("re-loaded model scores alike", pairs=0)


def test_model_over_the_latency_budget_fails():
    assert "10.01 ms (median), over" in _fails_alone("fast enough", latency=10.01)
    assert decide(Gate(), replace(GOOD, latency=10.0)).passed
    assert not decide(Gate(latency_budget=1.0), GOOD).passed


@pytest.mark.parametrize(
    ("low", "verdict", "passed"),
    [
        (0.0001, "better", True),
        (0.0, "not_worse", True),
        (-0.0099, "not_worse", True),
        (-0.01, "worse", False),
        (-0.3, "worse", False),
    ],
)
def test_verdict_goes_by_the_lower_bound_against_the_champion(low, verdict, passed):
    decision = decide(Gate(), replace(GOOD, against_champion=replace(LEVEL, low=low, high=0.02)))
    assert (decision.verdict, decision.passed) == (verdict, passed)


def test_model_identical_to_the_champion_passes_and_is_not_called_better():
    decision = decide(Gate(), replace(GOOD, against_champion=LEVEL))
    assert (decision.passed, decision.verdict) == (True, "not_worse")


def test_version_better_than_the_champion_fails_if_it_is_not_safe():
    better = replace(LEVEL, low=0.01, high=0.05)
    decision = decide(Gate(), replace(GOOD, against_champion=better, differing=3))
    assert (decision.passed, decision.verdict) == (False, "better")


def test_gate_gives_a_sentence_for_everything_it_looked_at():
    reasons = decide(Gate(), GOOD).reasons
    assert len(reasons) == len(set(reasons)) == 7
    assert all(reason.endswith(".") for reason in reasons)
