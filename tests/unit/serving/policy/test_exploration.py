"""Propensities against brute force: every possible list, and its frequency."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from serving.policy.exploration import ListSampler, Quota, logits, uniform_from
from serving.policy.policies import EPSILON_GREEDY, PLACKETT_LUCE, Policy

POLICIES = [
    Policy(),
    Policy(EPSILON_GREEDY, epsilon=0.3),
    Policy(PLACKETT_LUCE, temperature=0.7),
]
EXPLORING = POLICIES[1:]
SCORES = np.array([2.0, 1.5, 1.0, 0.2])
by_kind = pytest.mark.parametrize("policy", EXPLORING, ids=lambda policy: policy.kind)


def sampler(policy, scores=SCORES, seed=0, quotas=()) -> ListSampler:
    return ListSampler(policy, scores, np.random.default_rng(seed).random, quotas)


def turn_probability(policy: Policy, place: int, opened: list[int], scores: np.ndarray) -> float:
    """The probability of a turn, computed from its definition."""
    if policy.kind == EPSILON_GREEDY:
        return policy.epsilon / len(opened) + (1 - policy.epsilon) * (place == min(opened))
    weights = {one: np.exp(scores[one] / policy.temperature) for one in opened}
    return weights[place] / sum(weights.values())


def still_open(before: tuple[int, ...], count: int, quotas) -> list[int]:
    def fits(place: int) -> bool:
        return all(
            quota.labels[place] < 0
            or sum(quota.labels[one] == quota.labels[place] for one in before) < quota.limit
            for quota in quotas
        )

    return [place for place in range(count) if place not in before and fits(place)]


def lists(policy, scores, k, quotas=(), before=()):
    """Every possible list, each with the probabilities of its turns."""
    opened = still_open(before, len(scores), quotas)
    if len(before) == k or not opened:
        yield before, ()
        return
    for place in opened:
        chance = turn_probability(policy, place, opened, scores)
        for found, chances in lists(policy, scores, k, quotas, (*before, place)):
            yield found, (chance, *chances)


GROUPS = Quota(np.array([0, 0, -1, 1]), 1)
DEPARTMENTS = Quota(np.array([0, 1, 0, 0]), 2)


@by_kind
@pytest.mark.parametrize("quotas", [(), (GROUPS,), (DEPARTMENTS,), (GROUPS, DEPARTMENTS)])
def test_frequency_of_each_list_is_the_product_of_its_propensities(policy, quotas):
    expected = {found: np.prod(each) for found, each in lists(policy, SCORES, 3, quotas)}
    assert sum(expected.values()) == pytest.approx(1)
    random, times = np.random.default_rng(2017).random, 20_000
    seen = dict.fromkeys(expected, 0)
    for _ in range(times):
        seen[tuple(ListSampler(policy, SCORES, random, quotas).draw(3).tolist())] += 1
    assert chisquare([*seen.values()], [times * one for one in expected.values()]).pvalue > 0.001


@by_kind
@pytest.mark.parametrize("quotas", [(), (GROUPS,), (DEPARTMENTS,), (GROUPS, DEPARTMENTS)])
def test_propensity_of_each_turn_is_its_probability(policy, quotas):
    expected = dict(lists(policy, SCORES, 4, quotas))
    for seed in range(200):
        one = sampler(policy, seed=seed, quotas=quotas)
        found = tuple(one.draw(4).tolist())
        np.testing.assert_allclose(one.propensities(), expected[found], rtol=1e-12)


@given(
    st.sampled_from(EXPLORING),
    st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(lambda s: sorted(s, reverse=True)),
    st.integers(1, 8),
    st.lists(st.integers(-1, 2), min_size=6, max_size=6),
    st.integers(1, 2),
    st.integers(0, 2**32),
)
def test_propensities_of_any_draw_follow_the_definition(policy, scores, k, labels, most, seed):
    scores = np.array(scores)
    quotas = (Quota(np.array(labels[: len(scores)]), most),)
    one = sampler(policy, scores, seed, quotas)
    found = [*one.draw(1).tolist(), *one.draw(k - 1).tolist()]
    assert len(set(found)) == len(found) <= min(k, len(scores))
    for turn, chance in enumerate(one.propensities()):
        opened = still_open(tuple(found[:turn]), len(scores), quotas)
        expected = turn_probability(policy, found[turn], opened, scores)
        assert chance == pytest.approx(expected, rel=1e-9) and 0 <= chance <= 1
    if len(found) < k:
        assert not still_open(tuple(found), len(scores), quotas)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(0.1, 10))
@settings(max_examples=30)
def test_probabilities_of_all_permutations_sum_to_one(scores, temperature):
    policy = Policy(PLACKETT_LUCE, temperature=temperature)
    scores = np.sort(scores)[::-1]
    every = dict(lists(policy, scores, len(scores)))
    assert set(every) == set(permutations(range(len(scores))))
    assert sum(np.prod(chances) for chances in every.values()) == pytest.approx(1)


def test_deterministic_policy_shows_the_best_with_certainty():
    one = sampler(Policy())
    assert one.draw(3).tolist() == [0, 1, 2] and one.propensities().tolist() == [1, 1, 1]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
def test_draw_of_more_than_all_candidates_returns_all_of_them(policy):
    one = sampler(policy)
    assert sorted(one.draw(100).tolist()) == [0, 1, 2, 3] and one.propensities()[-1] == 1
    empty = sampler(policy, np.empty(0))
    assert empty.draw(3).tolist() == [] == empty.propensities().tolist()


def test_list_has_at_most_the_limit_of_one_department():
    one = sampler(Policy(department_limit=2), quotas=(Quota(np.array([0, 0, 0, 1]), 2, "full"),))
    assert one.draw(4).tolist() == [0, 1, 3] and one.closed == {"full": 1}


def test_low_temperature_draws_the_best_first_and_a_high_one_uniformly():
    cold = sampler(Policy(PLACKETT_LUCE, temperature=1e-6))
    assert cold.draw(4).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(cold.propensities(), 1)
    hot = sampler(Policy(PLACKETT_LUCE, temperature=1e9))
    hot.draw(4)
    np.testing.assert_allclose(hot.propensities(), [1 / 4, 1 / 3, 1 / 2, 1], rtol=1e-8)


@pytest.mark.parametrize(("epsilon", "first"), [(0.0, 1.0), (1.0, 0.25)])
def test_epsilon_of_zero_draws_the_best_and_of_one_uniformly(epsilon, first):
    one = sampler(Policy(EPSILON_GREEDY, epsilon=epsilon))
    one.draw(4)
    assert one.propensities()[0] == first


@by_kind
def test_same_names_draw_the_same_list_and_others_another(policy):
    scores = np.zeros(50)
    drawn = [
        ListSampler(policy, scores, uniform_from(*names)).draw(50).tolist()
        for names in ("ab", "ab", "ac")
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_weights_far_apart_do_not_underflow():
    one = sampler(Policy(PLACKETT_LUCE), np.array([0.0, -2000.0, -2001.0]))
    second = one.draw(3).tolist()[1]
    expected = turn_probability(Policy(PLACKETT_LUCE), second, [1, 2], np.array([0, 1.0, 0.0]))
    np.testing.assert_allclose(one.propensities(), [1, expected, 1], rtol=1e-9)


@pytest.mark.parametrize("gap", [1e6, 1e9, 1e15])
def test_equal_scores_far_below_the_best_are_equally_likely_at_the_lowest_temperature(gap):
    policy, scores = Policy(PLACKETT_LUCE, temperature=1e-6), np.array([gap, 0.0, 0.0, 0.0])
    random, seen = np.random.default_rng(7).random, np.zeros(4)
    for _ in range(6_000):
        one = ListSampler(policy, scores, random)
        seen[one.draw(2)[1]] += 1
    assert seen[0] == 0 and chisquare(seen[1:]).pvalue > 0.001
    one.draw(2)
    np.testing.assert_allclose(one.propensities(), [1, 1 / 3, 1 / 2, 1], rtol=1e-12)


def test_unknown_score_counts_as_the_lowest():
    assert logits(np.array([1.0, 0.0, np.nan]), 0.5).tolist() == [0.0, -2.0, -2.0]
    assert logits(np.full(2, np.nan), 1).tolist() == [0.0, 0.0]


def test_numbers_are_uniform_and_exclude_zero_and_one():
    numbers = np.concatenate([uniform_from("request", n)(100) for n in range(100)])
    assert numbers.min() > 0 and numbers.max() < 1
    assert chisquare(np.histogram(numbers, 20, (0, 1))[0]).pvalue > 0.001
    one = uniform_from("request")
    assert one(3).tolist() != one(3).tolist()
