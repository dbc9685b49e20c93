import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.names import RANKERS
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.tie_break import tie_break
from serving.policy.order import certain_propensities, rank
from serving.policy.scores import RULES, own_purchases_scores, own_spend_scores

OWN = RANKER_INPUTS.index("own_purchase_count")
SPEND = RANKER_INPUTS.index("own_spend")
BUYERS = RANKER_INPUTS.index("covered_buyer_count_all")


def inputs(*pairs: tuple[float, float]) -> np.ndarray:
    rows = np.full((len(pairs), len(RANKER_INPUTS)), np.nan, dtype=np.float32)
    rows[:, OWN], rows[:, BUYERS] = zip(*pairs, strict=True)
    return rows


def test_one_more_own_purchase_beats_any_popularity():
    low, high = own_purchases_scores(inputs((1, 2_000_000), (2, 0)))
    assert low < high


def test_popularity_breaks_ties_of_own_purchases():
    less, more = own_purchases_scores(inputs((3, 10), (3, 11)))
    assert less < more


def test_unknown_input_counts_as_zero():
    assert own_purchases_scores(inputs((np.nan, np.nan)))[0] == 0
    assert own_spend_scores(inputs((np.nan, np.nan)))[0] == 0


def test_one_cent_more_spent_beats_any_number_of_purchases():
    rows = inputs((1_000, 2_000_000), (1, 0))
    rows[:, SPEND] = 500, 501
    few, more = own_spend_scores(rows)
    assert few < more


def test_purchases_without_an_amount_are_ordered_by_their_number():
    few, more = own_spend_scores(inputs((2, 2_000_000), (3, 0)))
    assert 0 < few < more < 1


def row(**values: float) -> np.ndarray:
    """Returns one row of inputs; those without a value are unknown."""
    out = np.full((1, len(RANKER_INPUTS)), np.nan, dtype=np.float32)
    for name, value in values.items():
        out[0, RANKER_INPUTS.index(name)] = value
    return out


finite = st.floats(0, 1e7, width=32)
rates = st.floats(2**-16, 1, width=32)


@given(finite, rates, finite, st.sampled_from([0, 1, 3]))
def test_rules_are_their_formulas(spend, percov, amount, lines):
    values = {"own_spend": spend, "percov": percov}
    values |= {"cart_covered_amount": amount, "cart_covered_line_count": lines}
    home = math.log(spend / 100 + 0.5) + 0.5 * math.log(percov)
    checkout = 25 + math.log(amount / 100 + 0.01) + math.log(percov) if lines else home
    found = [RULES[key].scores(row(**values))[0] for key in ("home", "checkout")]
    assert found == pytest.approx([home, checkout], rel=1e-9, abs=1e-9)


@given(rates, rates, st.floats(0, 1e6, width=32), finite)
def test_coupon_in_the_cart_ranks_before_any_other_at_the_checkout(percov, other, spend, amount):
    inside = row(cart_covered_line_count=1, cart_covered_amount=amount, percov=percov)
    outside = row(own_spend=spend, percov=other)
    rule = RULES["checkout"]
    assert rule.scores(inside)[0] > rule.scores(outside)[0]


def test_more_spend_and_more_redemptions_of_others_rank_higher_at_home():
    rows = [row(own_spend=100, percov=0.1), row(own_spend=101, percov=0.1)]
    rows.append(row(own_spend=101, percov=0.2))
    scores = [RULES["home"].scores(one)[0] for one in rows]
    assert scores == sorted(scores) and len(set(scores)) == 3


def test_cart_does_not_change_the_rule_at_home():
    cart = {"cart_covered_line_count": 1, "cart_covered_amount": 500}
    with_cart, without = row(own_spend=100, percov=0.1, **cart), row(own_spend=100, percov=0.1)
    assert RULES["home"].scores(with_cart) == RULES["home"].scores(without)


def test_score_of_unknown_inputs_is_that_of_no_spend_in_a_campaign_without_redemptions():
    wanted = math.log(0.5) + 0.5 * math.log(1 / 200)
    assert [rule.scores(row())[0] for rule in RULES.values()] == pytest.approx([wanted] * 2)


@given(finite, rates, finite, st.sampled_from([0, 2]))
def test_effects_sum_to_the_score_less_that_of_an_unknown_row(spend, percov, amount, lines):
    values = {"own_spend": spend, "percov": percov}
    values |= {"cart_covered_amount": amount, "cart_covered_line_count": lines}
    for rule in RULES.values():
        whole, base = rule.scores(row(**values))[0], rule.scores(row())[0]
        assert rule.effects(row(**values)).sum() == pytest.approx(whole - base)
        assert rule.margin(row(**values)).dtype == np.float32


def test_each_ranker_has_the_rule_that_its_names_state():
    assert {one.key: (one.name, one.version) for one in RULES.values()} == {
        one.key: (one.rule, one.rule_version) for one in RANKERS.values()
    }
    assert all(RULES[key].key == key for key in RANKERS)


def test_scores_keep_the_leading_shape_and_are_double_precision():
    scores = own_purchases_scores(np.zeros((4, 5, len(RANKER_INPUTS)), dtype=np.float32))
    assert scores.shape == (4, 5) and scores.dtype == np.float64


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 40))
def test_ranking_is_the_k_best_in_falling_order(values, k):
    ids = [f"c{place}" for place in range(len(values))]
    order = rank(np.array(values, dtype=float), ids, k)
    assert sorted(values, reverse=True)[:k] == [values[place] for place in order]


@given(st.permutations([f"c{place}" for place in range(8)]))
def test_order_among_equals_depends_on_the_coupon_and_not_on_its_row(ids):
    order = rank(np.zeros(8), ids, 8)
    plain = rank(np.zeros(8), sorted(ids), 8)
    assert [ids[place] for place in order] == [sorted(ids)[place] for place in plain]


def test_higher_tie_break_ranks_first_as_in_the_metrics():
    ids = [f"c{place}" for place in range(8)]
    assert rank(np.zeros(8), ids, 8).tolist() == np.argsort(tie_break(ids))[::-1].tolist()


def test_ties_handed_in_give_the_same_order():
    ids = ["a", "b", "c", "d"]
    assert rank(np.zeros(4), ids, 4).tolist() == rank(np.zeros(4), (), 4, tie_break(ids)).tolist()


def test_unknown_score_comes_last():
    assert rank(np.array([np.nan, -5.0, 1.0]), ["a", "b", "c"], 3).tolist() == [2, 1, 0]


def test_ranking_of_no_coupons_is_empty():
    assert rank(np.empty(0), [], 10).tolist() == []


def test_propensities_of_a_deterministic_list_are_one():
    assert certain_propensities(3).tolist() == [1.0, 1.0, 1.0]
