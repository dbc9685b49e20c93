"""Comparisons of models, their intervals, and the gate on them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import take
from training.evaluation import compare
from training.evaluation.orders import WithoutOrder
from training.models import baselines
from training.registry.promotion_gate import Gate, Measurements, decide

GROUPS, SIZE = 300, 12


def _frame(seed=0):
    """Builds 300 exposures of 150 users with 12 candidates; own purchases raise the odds."""
    rng = np.random.default_rng(seed)
    count = GROUPS * SIZE
    own, buyers = rng.poisson(1.0, count), rng.integers(0, 50, count)
    return ranking_frame(
        numbered("q", GROUPS, SIZE),
        rng.random(count) < 0.02 + 0.08 * own,
        user_id=numbered("u", GROUPS, SIZE, shared_by=2),
        own_purchase_count=own,
        covered_buyer_count_all=buyers,
    )


FRAME = _frame()
RULES = baselines.rule_scores(FRAME, "checkout", seed=1)
PERFECT = FRAME.label.astype(np.float64)


def _shuffled(seed=3):
    return np.random.default_rng(seed).permutation(PERFECT)


def test_table_has_the_same_metrics_for_every_model():
    table = compare.evaluate(FRAME, PERFECT, RULES, champion=_shuffled()).table
    assert list(table) == ["ranker", *baselines.PLAIN_RULES, "champion"]
    assert table["ranker"]["ndcg@10"] == 1.0
    assert table["own_purchases"]["ndcg@10"] > table["random"]["ndcg@10"] + 0.05
    assert len({tuple(values) for values in table.values()}) == 1


def test_rule_to_beat_is_the_best_one_on_the_test_groups():
    assert compare.evaluate(FRAME, PERFECT, RULES).against_rule.other == "own_purchases"
    better = {"random": RULES["random"], "popularity": PERFECT}
    assert compare.evaluate(FRAME, PERFECT, better).against_rule.other == "popularity"


def test_comparison_counts_only_groups_with_a_redeemed_coupon():
    redeemed = FRAME.label.reshape(GROUPS, SIZE).any(axis=1)
    measured = compare.evaluate(FRAME, PERFECT, RULES).against_rule
    assert measured.groups == redeemed.sum() < GROUPS
    assert measured.users == len(set(np.arange(GROUPS)[redeemed] // 2))
    assert measured.difference == pytest.approx(measured.ranker_value - measured.other_value)
    assert measured.low < measured.difference < measured.high


def test_difference_from_the_same_model_is_exactly_zero():
    measured = compare.evaluate(FRAME, PERFECT, RULES, champion=PERFECT).against_champion
    assert (measured.difference, measured.low, measured.high) == (0.0, 0.0, 0.0)


def test_without_a_champion_there_is_no_comparison_with_one():
    assert compare.evaluate(FRAME, PERFECT, RULES).against_champion is None


def test_same_seed_gives_the_same_interval():
    first, second = (compare.evaluate(FRAME, PERFECT, RULES, seed=5) for _ in range(2))
    assert first == second


def test_bootstrap_draws_the_groups_of_a_user_together():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)
    alone = compare.bootstrap_interval(values, np.arange(400).astype(str), seed=0)
    together = compare.bootstrap_interval(values, np.repeat(np.arange(40), 10).astype(str), seed=0)
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_bootstrap_interval_agrees_with_theory_for_independent_values():
    values = np.random.default_rng(1).normal(0.5, 1.0, 2000)
    low, high = compare.bootstrap_interval(values, np.arange(2000).astype(str), seed=0)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.005)


def test_comparison_without_a_redeemed_coupon_is_refused():
    nothing = np.full(3, np.nan)
    with pytest.raises(ValueError, match="test on a longer period"):
        compare.compare("random", nothing, nothing, np.array(["a", "b", "c"]), 0)


def test_own_purchases_outrank_popularity_and_unknown_popularity_counts_as_zero():
    counts = {"own_purchase_count": [2, 1, 0], "covered_buyer_count_all": [0, 900, np.nan]}
    frame = ranking_frame(["q"] * 3, [0, 0, 0], **counts)
    assert np.argsort(-baselines.rule_scores(frame, "checkout", 1)["own_purchases"]).tolist() == [
        0,
        1,
        2,
    ]
    assert baselines.popularity_scores(frame).tolist() == [0.0, 900.0, 0.0]


def test_random_rule_depends_only_on_its_seed():
    first, again, other = (baselines.random_scores(FRAME, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def _measured(scores, champion=None):
    found = compare.evaluate(FRAME, scores, RULES, champion)
    against = found.against_champion
    other = ("champion", champion) if against else ("own_purchases", RULES["own_purchases"])
    slices = compare.compare_slices(FRAME, scores, *other, SLICINGS)
    rule = found.against_rule.other
    broad = compare.compare_slices(FRAME, scores, rule, RULES[rule], {"month": SLICINGS["half"]})
    return Measurements(
        compare.PRIMARY,
        found.against_rule,
        against,
        found.without_order,
        broad,
        slices,
        None,
        0,
        len(FRAME),
        1.0,
    )


SLICINGS = {
    "half": np.where(np.arange(GROUPS) < GROUPS // 2, "first", "second").astype(object),
    "rest": np.array(["rare"] + ["usual"] * (GROUPS - 1), object),
}


def test_scores_of_shuffled_labels_fail_the_gate():
    for seed in range(5):
        assert not decide(Gate(), _measured(_shuffled(seed))).passed


def test_clearly_better_scores_pass_the_gate():
    decision = decide(Gate(), _measured(PERFECT))
    assert (decision.passed, decision.verdict) == (True, "no_champion")


def test_scores_of_the_champion_itself_pass_and_are_not_better():
    decision = decide(Gate(), _measured(PERFECT, champion=PERFECT))
    assert (decision.passed, decision.verdict) == (True, "not_worse")


def test_scores_that_are_worse_on_one_slice_fail_although_better_overall():
    first = np.repeat(SLICINGS["half"] == "first", SIZE)
    champion = np.where(first, PERFECT, -PERFECT)
    scores = np.where(first, RULES["own_purchases"], PERFECT)
    decision = decide(Gate(), _measured(scores, champion))
    assert decision.verdict == "better"
    assert [check.name for check in decision.checks if not check.held] == ["no slice is worse"]


def test_every_part_of_every_slicing_is_compared():
    found = compare.compare_slices(FRAME, PERFECT, "random", RULES["random"], SLICINGS)
    parts = [(one.slicing, one.part) for one in found]
    assert parts == [("half", "first"), ("half", "second"), ("rest", "rare"), ("rest", "usual")]
    redeemed = FRAME.label.reshape(GROUPS, SIZE).any(axis=1)
    assert [one.groups for one in found[:2]] == [
        redeemed[: GROUPS // 2].sum(),
        redeemed[GROUPS // 2 :].sum(),
    ]
    here = np.repeat(SLICINGS["half"] == "first", SIZE)
    alone = compare.evaluate(take(FRAME, here), PERFECT[here], {"random": RULES["random"][here]})
    assert found[0].against == alone.against_rule


def test_slice_without_a_redeemed_coupon_is_listed_without_a_comparison():
    bare = np.flatnonzero(~FRAME.label.reshape(GROUPS, SIZE).any(axis=1))[0]
    parts = np.array(["some"] * GROUPS, object)
    parts[bare] = "none"
    found = compare.compare_slices(FRAME, PERFECT, "random", RULES["random"], {"kind": parts})
    assert [(one.part, one.against is None) for one in found] == [("none", True), ("some", False)]
    assert found[0].groups == 0


def test_leaderboard_is_sorted_by_the_primary_metric_with_a_comparison_for_each_other_model():
    scores = {"ranker": PERFECT, "shuffled": _shuffled(), **RULES}
    found = compare.leaderboard(FRAME, scores)
    values = [one.metrics["ndcg@10"] for one in found]
    assert values == sorted(values, reverse=True) and found[0].model == "ranker"
    assert {one.model for one in found} == set(scores)
    by_model = {one.model: one.against for one in found}
    assert by_model.pop("ranker") is None
    alone = compare.evaluate(FRAME, PERFECT, RULES)
    assert by_model["own_purchases"] == alone.against_rule
    assert all(one.low > 0 and one.other == name for name, one in by_model.items())


def test_evaluation_counts_the_groups_without_an_order_by_reason():
    label = FRAME.label.copy()
    label[:SIZE], label[SIZE : 2 * SIZE] = 0, 1
    rows = np.concatenate([np.arange(2 * SIZE), np.arange(2 * SIZE + SIZE - 1, len(FRAME))])
    frame = take(replace(FRAME, label=label, later=label), rows)
    found = compare.evaluate(frame, frame.label.astype(float), {"random": RULES["random"][rows]})
    by_group = label.reshape(GROUPS, SIZE)[3:].sum(axis=1)
    assert found.without_order == WithoutOrder(
        groups=GROUPS,
        one_candidate=1,
        none_redeemed=1 + (by_group == 0).sum(),
        all_redeemed=1 + (by_group == SIZE).sum(),
    )
    assert found.against_rule.groups == found.without_order.with_order
    # A perfect order of all groups is perfect, also if groups without an order are in the frame.
    assert found.table["ranker"]["ndcg@10"] == found.table["ranker"]["recall@10"] == 1.0


def test_later_redemptions_are_compared_on_their_own_groups():
    later = np.maximum(FRAME.label, np.arange(len(FRAME)) % 5 == 0).astype(np.int8)
    frame = replace(FRAME, later=later)
    found = compare.evaluate(frame, PERFECT, RULES)
    alone = compare.evaluate(replace(FRAME, label=later), PERFECT, {"x": RULES["own_purchases"]})
    assert found.later.other == found.against_rule.other == "own_purchases"
    assert replace(found.later, other="x") == alone.against_rule
    assert found.later.groups > found.against_rule.groups
    assert found.table["ranker"][compare.LATER] == pytest.approx(found.later.ranker_value)
    assert found.table["ranker"]["ndcg@10"] == 1.0
