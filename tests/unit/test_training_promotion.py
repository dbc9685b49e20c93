"""The gate: what passes, what fails, and that every reason has its figures."""

from dataclasses import replace

from training.evaluate import Comparison, Evaluation
from training.promotion import Gate, decide

BETTER = Comparison("own_purchases", 0.52, 0.50, 0.02, -0.005, 0.045, 297, 200)
SAME = Comparison("champion", 0.52, 0.52, 0.0, 0.0, 0.0, 297, 200)


def _decide(rule=BETTER, champion=None, gate=None):
    return decide(gate or Gate(), Evaluation({}, rule, champion))


def test_better_ranker_that_loses_at_most_the_margin_passes():
    assert _decide().passed


def test_ranker_equal_to_the_rule_fails():
    level = replace(BETTER, ranker_value=0.5, difference=0.0)
    assert not _decide(level).passed


def test_ranker_whose_interval_reaches_the_margin_fails():
    assert not _decide(replace(BETTER, low=-0.01)).passed
    assert _decide(replace(BETTER, low=-0.0099)).passed


def test_too_few_groups_fail_however_good_the_ranker_is():
    few = replace(BETTER, difference=0.4, low=0.3, groups=99)
    decision = _decide(few)
    assert not decision.passed
    assert decision.reasons[0] == (
        "99 test groups with a redeemed coupon are too few: at least 100 are needed."
    )


def test_ranker_identical_to_the_champion_passes():
    assert _decide(champion=SAME).passed


def test_ranker_that_may_be_much_worse_than_the_champion_fails():
    decision = _decide(champion=replace(SAME, difference=-0.004, low=-0.02, high=0.012))
    assert not decision.passed
    assert decision.reasons[-1] == (
        "The difference in ndcg@10 to champion is -0.0040, with 95% confidence from -0.0200 to "
        "+0.0120: the lower bound is not above -0.0100."
    )


def test_gate_gives_a_sentence_with_figures_for_everything_it_looked_at():
    reasons = _decide(champion=SAME).reasons
    assert len(reasons) == 4
    assert all(reason.endswith(".") and any(c.isdigit() for c in reason) for reason in reasons)
    assert "0.5200, above 0.5000 of the best plain rule, own_purchases" in reasons[1]


def test_stricter_gate_refuses_what_the_usual_one_passes():
    assert not _decide(gate=Gate(margin=0.001)).passed
    assert not _decide(gate=Gate(least_groups=298)).passed
