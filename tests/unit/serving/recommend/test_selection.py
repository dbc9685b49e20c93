from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from feature_repo.instants import microseconds
from serving.candidates.cart import cart_of
from serving.candidates.discounts import coverage
from serving.candidates.unstated import NO_LIMIT
from serving.ledger.ledger import Claim
from serving.policy.policies import Policy
from serving.recommend.selection import Choice, best_of_groups, select
from serving.rules.context import RuleContext
from tests.support.serving_fakes import WATERMARK, FakeLedger, coupon, index_of

NOW = microseconds(WATERMARK)
LIMITED = {"total_limit": 5}


def chosen(index, k: int = 10, ledger: FakeLedger | None = None, choice=None):
    """Coupons shown, best first, where they are ranked as they stand in the index."""
    context = RuleContext(index, NOW, {}, coverage(index.terms.discounts, cart_of(())), "900")
    rows = np.arange(len(index))
    scores = np.arange(len(rows), 0, -1.0)
    found = select(context, rows, scores, choice or Choice(k), ledger or FakeLedger())
    return list(index.coupon_id[rows[found.places]]), found.removed


def shelf(names: str, **terms):
    return index_of(*(coupon(one, "1") for one in names), terms=terms)


def test_only_the_best_of_a_group_is_shown():
    x, y = {"exclusivity_group": "x"}, {"exclusivity_group": "y"}
    index = shelf("abcdef", b=x, c=y, d=x, e=y)
    assert chosen(index) == (["a", "b", "c", "f"], {"exclusivity": 2})
    assert chosen(index, k=2) == (["a", "b"], {"exclusivity": 2})


def test_groups_keep_their_first_and_whatever_has_none():
    groups = np.array([-1, 3, 3, -1, 0, 3, 0])
    assert best_of_groups(groups).tolist() == [True, True, False, True, True, False, False]


def test_what_cannot_be_reserved_makes_room_for_the_next_best():
    index = shelf("abcd", a=LIMITED, b=LIMITED, c=LIMITED)
    ledger = FakeLedger(refused={"a": "usage_cap_total", "c": "campaign_budget"})
    shown, removed = chosen(index, 2, ledger)
    assert shown == ["b", "d"]
    assert removed == {"usage_cap_total": 1, "campaign_budget": 1}


def test_what_cannot_be_reserved_leaves_its_exclusivity_group_to_the_next_best():
    x, y = {"exclusivity_group": "x"}, {"exclusivity_group": "y"}
    index = shelf("abcdefg", b=x | LIMITED, c=x | LIMITED, d=x, e=y, f=x, g=y)
    ledger = FakeLedger(refused={"b": "usage_cap_total", "c": "campaign_budget"})
    removed = {"usage_cap_total": 1, "campaign_budget": 1, "exclusivity": 2}
    assert chosen(index, 3, ledger) == (["a", "d", "e"], removed)
    assert [[claim.coupon_id for claim in claims] for claims in ledger.claims] == [["b"], ["c"]]


def test_only_what_is_shown_is_claimed():
    ledger = FakeLedger()
    assert chosen(shelf("abc", a=LIMITED, c=LIMITED), 2, ledger)[0] == ["a", "b"]
    assert [[claim.coupon_id for claim in claims] for claims in ledger.claims] == [["a"]]


def test_claim_carries_every_limit_and_what_the_coupon_costs():
    terms = {"campaign_budget": 900, "impression_limit": 3, "impression_days": 1}
    one = coupon("a", "1", discount_type="amount_off", discount_value=300)
    ledger = FakeLedger()
    chosen(index_of(one, terms={"a": terms}), ledger=ledger)
    assert ledger.claims == [
        [
            Claim(
                coupon_id="a",
                campaign_id="1",
                cost=300,
                total_limit=NO_LIMIT,
                campaign_budget=900,
                user_budget=NO_LIMIT,
                reserved=True,
                impression_limit=3,
                impression_period=86_400_000_000,
            )
        ]
    ]


def test_coupon_with_a_frequency_cap_alone_is_not_reserved():
    ledger = FakeLedger()
    chosen(shelf("a", a={"impression_limit": 3, "impression_days": 1}), ledger=ledger)
    assert [claim.reserved for claim in ledger.claims[0]] == [False]


@pytest.mark.parametrize("terms", [{}, {"min_margin": 3, "placements": "home"}])
def test_ledger_is_not_asked_where_nothing_is_limited(terms):
    assert chosen(shelf("abc", a=terms), 2, FakeLedger(broken=True)) == (["a", "b"], {})


def test_while_the_ledger_is_down_what_is_limited_makes_room():
    index = shelf("abcd", a=LIMITED, c=LIMITED)
    shown, removed = chosen(index, 2, FakeLedger(broken=True))
    assert (shown, removed) == (["b", "d"], {"limits_unknown": 2})


def drawn(index, choice: Choice, ledger=None):
    context = RuleContext(index, NOW, {}, coverage(index.terms.discounts, cart_of(())), "900")
    rows = np.arange(len(index))
    scores = np.zeros(len(rows))
    return rows, select(context, rows, scores, choice, ledger or FakeLedger())


LUCE = Policy("plackett_luce")


def test_no_more_of_a_department_than_the_policy_says():
    departments = np.array([0, 0, 0, 1, -1, -1])
    choice = Choice(10, Policy(department_limit=2), departments)
    shown, removed = chosen(shelf("abcdef"), choice=choice)
    assert (shown, removed) == (["a", "b", "d", "e", "f"], {"department": 1})


def test_drawn_list_has_one_of_a_group_and_says_the_chance_of_each_turn():
    index = shelf("abc", a={"exclusivity_group": "x"}, b={"exclusivity_group": "x"})
    seen = set()
    for number in range(60):
        _, found = drawn(index, Choice(3, LUCE, names=(number,)))
        first = found.places[0]
        assert len(found.places) == 2 and found.removed == {"exclusivity": 1}
        assert found.propensities.tolist() == pytest.approx([1 / 3, 1 / 2 if first == 2 else 1])
        seen.add(tuple(found.places.tolist()))
    assert seen == {(0, 2), (1, 2), (2, 0), (2, 1)}


def test_refused_coupon_had_its_turn_and_the_next_one_is_drawn_from_what_is_left():
    index = shelf("abcd", a=LIMITED, b=LIMITED, c=LIMITED, d=LIMITED)
    for number in range(30):
        ledger = FakeLedger(refused={"a": "usage_cap_total"})
        _, found = drawn(index, Choice(3, LUCE, names=(number,)), ledger)
        assert sorted(found.places.tolist()) == [1, 2, 3]
        chances = [1 / 4, 1 / 3, 1 / 2, 1]
        if found.removed:
            assert found.removed == {"usage_cap_total": 1}
            turns = [n for n in range(4) if n != drawn_at(found.propensities, chances)]
            chances = [chances[turn] for turn in turns]
        assert found.propensities.tolist() == pytest.approx(chances[:3])


def drawn_at(propensities, chances) -> int:
    """The turn that is missing among those of the shown."""
    near = [np.isclose(propensities, chance).any() for chance in chances]
    return near.index(False)


def test_same_request_is_drawn_the_same_way_again():
    again = [drawn(shelf("abcdefgh"), Choice(5, LUCE, names=("r", "900", 1)))[1] for _ in "12"]
    assert again[0].places.tolist() == again[1].places.tolist()


def lists(scores, k, groups, departments, refused, drawn=()):
    """Every list that can come of Plackett-Luce, with the probabilities of its own turns.

    And that of all turns, those of refused coupons included, which are drawn and not shown.
    """
    taken = [groups[one] for one in drawn if groups[one] >= 0]
    counts = Counter(departments[one] for one in drawn)
    opened = [
        place
        for place in range(len(scores))
        if place not in drawn and groups[place] not in taken and counts[departments[place]] < 2
    ]
    if not opened or sum(one not in refused for one in drawn) == k:
        yield (), (), 1.0
        return
    weights = np.exp(scores[opened])
    for place, chance in zip(opened, weights / weights.sum(), strict=True):
        rest = lists(scores, k, groups, departments, refused, (*drawn, place))
        shown = place not in refused
        for places, chances, all_turns in rest:
            yield (place,) * shown + places, (chance,) * shown + chances, chance * all_turns


@pytest.mark.parametrize("refused", [{0}, {1, 4}, {0, 1, 3}])
def test_lists_with_groups_departments_and_refusals_come_as_often_as_their_turns_say(refused):
    scores = np.array([1.2, 0.9, 0.4, 0.1, -0.5])
    groups, departments, names, times = [0, 0, -1, 1, 1], [0, 0, 1, 0, 0], "abcde", 4_000
    expected, seen = Counter(), Counter()
    for places, chances, all_turns in lists(scores, 3, groups, departments, refused):
        expected[places, tuple(np.round(chances, 9))] += all_turns
    assert sum(expected.values()) == pytest.approx(1)
    terms = {
        one: LIMITED | ({"exclusivity_group": str(group)} if group >= 0 else {})
        for one, group in zip(names, groups, strict=True)
    }
    index, policy = shelf(names, **terms), Policy("plackett_luce", department_limit=2)
    context = RuleContext(index, NOW, {}, coverage(index.terms.discounts, cart_of(())), "900")
    ledger = FakeLedger(refused={names[one]: "usage_cap_total" for one in refused})
    for number in range(times):
        choice = Choice(3, policy, np.array(departments), (number,))
        found = select(context, np.arange(5), scores, choice, ledger)
        seen[tuple(found.places.tolist()), tuple(np.round(found.propensities, 9))] += 1
    assert set(seen) <= set(expected)
    both = [(seen[one], times * chance) for one, chance in expected.items() if times * chance > 5]
    rest = times - np.sum(both, axis=0)
    both += [tuple(rest)] if rest[1] > 1e-6 else []
    observed, probable = zip(*both, strict=True)
    assert chisquare(observed, probable).pvalue > 0.001
