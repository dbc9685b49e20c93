"""The promotion gate: every requirement, its limits, and the sentence with its numbers."""

from dataclasses import FrozenInstanceError, replace

import pytest

from training.evaluation.compare import Comparison, SliceComparison
from training.evaluation.orders import WithoutOrder
from training.registry.promotion_gate import Gate, Measurements, decide

BETTER = Comparison("own_purchases", 0.52, 0.50, 0.02, 0.005, 0.035, 297, 200)
LEVEL = Comparison("champion", 0.52, 0.52, 0.0, 0.0, 0.0, 297, 200)
SLICE = SliceComparison("history", "cold", 80, replace(BETTER, low=-0.01, groups=80))
AUGUST = replace(SLICE, slicing="month", part="2017-08")
EIGHT = replace(SLICE, slicing="campaign", part="8")
ORDERS = WithoutOrder(20_297, 12, 19_980, 8)
GOOD = Measurements(
    "ndcg@10", BETTER, None, ORDERS, (AUGUST, EIGHT), (AUGUST, EIGHT, SLICE), None, 0, 5000, 1.2
)


def _slice(groups=80, low=-0.05, high=0.02):
    return replace(
        SLICE,
        part="heavy",
        groups=groups,
        against=replace(BETTER, low=low, high=high, groups=groups),
    )


def _fails_alone(name, **changes):
    """Asserts that only this check fails, and returns its reason."""
    decision = decide(Gate(), replace(GOOD, **changes))
    assert not decision.passed
    failed = [check for check in decision.checks if not check.held]
    assert [check.name for check in failed] == [name]
    return failed[0].reason


def test_ranker_better_than_the_rule_passes_without_a_champion():
    decision = decide(Gate(), GOOD)
    assert (decision.passed, decision.verdict) == (True, "no_champion")


def test_gate_is_immutable():
    with pytest.raises(FrozenInstanceError):
        Gate().champion_margin = 1.0


def test_measurements_of_another_metric_are_refused():
    with pytest.raises(ValueError, match="Expected measurements of ndcg@10, got mrr"):
        decide(Gate(), replace(GOOD, metric="mrr"))


def test_too_few_groups_fail_even_for_a_good_ranker():
    few = replace(BETTER, difference=0.4, low=0.3, groups=99)
    assert _fails_alone("enough groups", against_rule=few) == (
        "The test has 99 groups with an order, which is too few: the gate needs at least 100. "
        "Without an order are 20,000 of 20,297 groups: 12 with one candidate, 19,980 without a "
        "redemption, 8 with all candidates redeemed."
    )


@pytest.mark.parametrize("low", [0.0, -0.0001, -0.2])
def test_ranker_whose_interval_includes_the_rule_fails_with_a_higher_mean(low):
    reason = _fails_alone("better than the best plain rule", against_rule=replace(BETTER, low=low))
    assert f"from {low:+.4f} to +0.0350. The lower bound is not above +0.0000." in reason


def test_ranker_whose_interval_includes_the_margin_to_the_champion_fails():
    worse = replace(LEVEL, difference=-0.004, low=-0.01, high=0.012)
    assert _fails_alone("no worse than the champion", against_champion=worse).endswith(
        "The difference is -0.0040, with a 95% interval from -0.0100 to +0.0120. The lower bound "
        "is not above -0.0100."
    )


def test_slice_that_is_worse_fails_the_gate_and_is_named():
    reason = _fails_alone("no slice is worse", slices=(SLICE, _slice(low=-0.2, high=-0.0001)))
    assert reason == (
        "Of the slices with at least 30 groups (2), 1 is worse with 95% confidence: history "
        "heavy (+0.0200 against own purchases, interval up to -0.0001, 80 groups)."
    )


@pytest.mark.parametrize("slicing", ["month", "campaign"])
def test_month_or_campaign_that_is_worse_than_the_rule_fails_the_gate_and_is_named(slicing):
    worse = replace(_slice(low=-0.2, high=-0.0001), slicing=slicing, part="2")
    reason = _fails_alone("no month or campaign is worse", rule_slices=(AUGUST, EIGHT, worse))
    assert reason.startswith(
        f"Of the months and campaigns with at least 30 groups (3), 1 is worse with 95% confidence: "
        f"{slicing} 2 (+0.0200 against own purchases, interval up to -0.0001, 80 groups)."
    )


@pytest.mark.parametrize("slicing", ["month", "campaign"])
def test_month_or_campaign_that_is_worse_than_the_champion_fails_the_gate(slicing):
    against = replace(LEVEL, difference=-0.03, low=-0.05, high=-0.01, groups=40)
    worse = SliceComparison(slicing, "2", 40, against)
    reason = _fails_alone(
        "no month or campaign is worse", against_champion=LEVEL, slices=(SLICE, worse)
    )
    assert f"{slicing} 2 (-0.0300 against champion, interval up to -0.0100, 40 groups)" in reason


@pytest.mark.parametrize("slicing", ["month", "campaign"])
def test_month_or_campaign_with_few_groups_is_not_judged(slicing):
    small = replace(_slice(groups=29, low=-0.2, high=-0.1), slicing=slicing, part="2")
    decision = decide(Gate(), replace(GOOD, rule_slices=(AUGUST, EIGHT, small)))
    assert decision.passed
    assert f"they have too few groups: {slicing} 2 (29)." in " ".join(decision.reasons)


def test_gate_states_how_broad_the_advantage_is_and_the_limit_of_the_interval():
    below = replace(_slice(low=-0.2), slicing="campaign", part="13")
    below = replace(below, against=replace(below.against, difference=-0.01))
    decision = decide(Gate(), replace(GOOD, rule_slices=(AUGUST, EIGHT, below)))
    assert decision.passed
    (reason,) = (one.reason for one in decision.checks if "month" in one.name)
    assert reason == (
        "Of the months and campaigns with at least 30 groups (3), none is worse with 95% "
        "confidence. 1 of 1 months and 1 of 2 campaigns with at least 30 groups are above own "
        "purchases. The interval by household does not cover the chance between campaigns: the 2 "
        "largest campaigns (13, 8) have 100% of the groups."
    )


def test_slice_whose_interval_reaches_zero_passes():
    assert decide(Gate(), replace(GOOD, slices=(_slice(low=-0.2, high=0.0),))).passed


def test_slice_with_too_few_groups_is_named_as_not_judged():
    small = _slice(groups=29, low=-0.2, high=-0.1)
    empty = SliceComparison("age", "unknown", 0, None)
    decision = decide(Gate(), replace(GOOD, slices=(SLICE, small, empty)))
    assert decision.passed
    (reason,) = (check.reason for check in decision.checks if check.name == "no slice is worse")
    assert reason == (
        "Of the slices with at least 30 groups (1), none is worse with 95% confidence. Not judged, "
        "because they have too few groups: history heavy (29), age unknown (0)."
    )
    assert not decide(Gate(least_slice_groups=29), replace(GOOD, slices=(small,))).passed


def test_invalid_training_frame_fails_with_its_problem():
    reason = _fails_alone("valid training frame", frame_problem="Expected pairs, got none.")
    assert reason == "The training frame is not valid. Expected pairs, got none."


def test_one_pair_with_another_score_from_the_reloaded_model_fails():
    reason = _fails_alone("reloaded model gives the same scores", differing=1)
    assert "gives 1 of 5,000 test pairs another score" in reason


def test_reloaded_model_that_scored_no_pair_fails():
    assert "has scored no test pair" in _fails_alone(
        "reloaded model gives the same scores", pairs=0
    )


def test_model_over_the_latency_budget_fails():
    assert "10.01 ms (median), which is over" in _fails_alone("fast enough", latency=10.01)
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
def test_verdict_depends_on_the_lower_bound_against_the_champion(low, verdict, passed):
    decision = decide(Gate(), replace(GOOD, against_champion=replace(LEVEL, low=low, high=0.02)))
    assert (decision.verdict, decision.passed) == (verdict, passed)


def test_model_identical_to_the_champion_passes_and_is_not_called_better():
    decision = decide(Gate(), replace(GOOD, against_champion=LEVEL))
    assert (decision.passed, decision.verdict) == (True, "not_worse")


def test_version_better_than_the_champion_fails_if_it_is_not_safe():
    better = replace(LEVEL, low=0.01, high=0.05)
    decision = decide(Gate(), replace(GOOD, against_champion=better, differing=3))
    assert (decision.passed, decision.verdict) == (False, "better")


def test_every_check_has_its_own_reason():
    reasons = decide(Gate(), GOOD).reasons
    assert len(reasons) == len(set(reasons)) == 8
    assert all(reason.endswith(".") for reason in reasons)
