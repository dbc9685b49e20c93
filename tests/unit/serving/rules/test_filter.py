from dataclasses import replace

import numpy as np
import pytest

from feature_repo.instants import DAY, microseconds
from feature_repo.names import PLACEMENTS
from feature_repo.transforms.request.cart import CartLine
from serving.candidates.cart import cart_of
from serving.candidates.discounts import coverage
from serving.candidates.index import CandidateIndex
from serving.ledger.ledger import END_OF_TIME, NoLedger, Usage
from serving.rules.context import RuleContext
from serving.rules.filter import RULES, USAGE_RULES, Rule, apply_rules, filter_candidates
from serving.rules.settings import RuleSettings
from tests.support.serving_fakes import WATERMARK, FakeLedger, coupon, index_of

NOW = microseconds(WATERMARK)


def context(index: CandidateIndex, *cart: tuple[str, float, int], **more) -> RuleContext:
    cover = coverage(index.terms.discounts, cart_of([CartLine(*line) for line in cart]))
    return replace(RuleContext(index, NOW, {}, cover, "900"), **more)


def filtered(index: CandidateIndex, *cart, ledger=None, **more):
    """The ids of the remaining coupons, and the number that each rule removed."""
    now = context(index, *cart, **more)
    rows, removed = filter_candidates(now, np.arange(len(index)), ledger or NoLedger())
    return list(index.coupon_id[rows]), removed


def used(**known) -> FakeLedger:
    return FakeLedger(Usage(**known))


def test_valid_to_is_exclusive():
    index = index_of(coupon("a", "1", valid_to_timestamp=NOW))
    assert filtered(index, as_of=NOW - 1) == (["a"], {})
    assert filtered(index, as_of=NOW) == ([], {"expired": 1})


def test_valid_from_is_inclusive():
    index = index_of(coupon("a", "1", valid_from_timestamp=NOW))
    assert filtered(index, as_of=NOW) == (["a"], {})
    assert filtered(index, as_of=NOW - 1) == ([], {"not_yet_valid": 1})


def test_coupon_is_removed_once_the_user_reached_its_limit():
    index = index_of(coupon("a", "1", per_user_limit=2), coupon("b", "1", per_user_limit=2))
    assert filtered(index, redeemed={"a": 2, "b": 1}) == (["b"], {"usage_cap": 1})


def test_coupon_without_a_stated_limit_is_removed_once_it_was_redeemed():
    index = index_of(coupon("a", "1"), coupon("b", "1"))
    assert filtered(index, redeemed={"a": 1, "b": 0, "gone": 3}) == (["b"], {"redeemed": 1})


def test_redemption_of_a_coupon_outside_the_index_is_ignored():
    index = index_of(coupon("a", "1", per_user_limit=1))
    assert filtered(index, redeemed={"z": 1})[0] == ["a"]
    assert filtered(index, ledger=used(redeemed=[("z", NOW)]))[0] == ["a"]


def test_redemption_that_is_only_in_the_ledger_counts_and_none_counts_twice():
    index = index_of(coupon("a", "1", per_user_limit=2))
    once, twice = used(redeemed=[("a", NOW)]), used(redeemed=[("a", NOW), ("a", NOW)])
    assert filtered(index, redeemed={"a": 1}, ledger=once) == (["a"], {})
    assert filtered(index, redeemed={"a": 1}, ledger=twice) == ([], {"usage_cap": 1})


def test_coupon_counts_for_the_first_rule_that_removes_it():
    gone = coupon("a", "1", valid_to_timestamp=NOW, per_user_limit=1)
    assert filtered(index_of(gone), redeemed={"a": 1}) == ([], {"expired": 1})


def test_rule_that_removed_nothing_is_not_named():
    assert filtered(index_of(coupon("a", "1")))[1] == {}


def test_new_rule_needs_no_change_of_the_caller():
    index = index_of(coupon("a", "1"), coupon("b", "2"))
    rule = Rule(lambda context, rows: context.index.campaign_id[rows] == "2")
    rules = {**RULES, "no_second_campaign": rule}
    rows, removed = apply_rules(context(index), np.arange(2), rules)
    assert (list(rows), removed) == ([0], {"no_second_campaign": 1})


def test_validity_is_exact_for_instants_that_a_float_cannot_hold():
    forever = microseconds(WATERMARK.replace(year=9999)) + 1
    index = index_of(coupon("a", "1", valid_to_timestamp=forever))
    assert filtered(index, as_of=forever - 1)[0] == ["a"]
    assert filtered(index, as_of=forever)[0] == []


@pytest.mark.parametrize("name", PLACEMENTS)
def test_coupon_is_shown_only_at_the_placements_of_its_terms(name):
    terms = {"a": {"placements": "home checkout"}}
    index = index_of(coupon("a", "1"), coupon("b", "1"), terms=terms)
    allowed = name in ("home", "checkout")
    assert filtered(index, placement=name)[0] == (["a", "b"] if allowed else ["b"])


def test_coupon_without_a_covered_product_in_stock_is_removed():
    index = index_of(
        coupon("gone", "1", ("p1", "p2")),
        coupon("some", "1", ("p1", "p3")),
        coupon("unknown", "1", ("p1", "p4")),
        coupon("all", "1"),
        coupon("gift", "1", ("p3",)),
        terms={"gift": {"gift_product_id": "p2"}},
        products={"p1": {"stock": 0}, "p2": {"stock": 0}, "p3": {"stock": 1}},
    )
    assert filtered(index) == (["some", "unknown", "all"], {"stock": 2})


def test_cart_that_is_about_to_be_paid_must_reach_the_minimum_spend():
    index = index_of(coupon("a", "1", min_spend=1_000))
    for place in ("cart", "checkout"):
        assert filtered(index, ("p1", 1, 999), placement=place) == ([], {"min_spend": 1})
        assert filtered(index, ("p1", 1, 1_000), placement=place) == (["a"], {})
        assert filtered(index, placement=place) == (["a"], {})
    assert filtered(index, ("p1", 1, 999), placement="home") == (["a"], {})


def test_cart_that_is_about_to_be_paid_must_have_a_covered_product():
    index = index_of(coupon("a", "1", ("p1",)), coupon("all", "1"))
    for place in ("cart", "checkout"):
        assert filtered(index, ("p2", 1, 999), placement=place) == (["all"], {"product_scope": 1})
        assert filtered(index, ("p2", 1, 9), ("p1", 1, 9), placement=place)[0] == ["a", "all"]
        assert filtered(index, placement=place)[0] == ["a", "all"]
    assert filtered(index, ("p2", 1, 999), placement="member")[0] == ["a", "all"]


def test_covered_product_that_costs_nothing_counts_as_in_the_cart():
    index = index_of(coupon("a", "1", ("p1",)), coupon("b", "1", ("p2",)))
    for line in (("p1", 1, 0), ("p1", 0.001, 1)):
        cart = (line, ("p3", 1, 500))
        assert filtered(index, *cart, placement="checkout") == (["a"], {"product_scope": 1})


def test_coupon_that_would_leave_too_little_margin_on_this_cart_is_removed():
    index = index_of(
        *(coupon(one, "1", ("p1",), discount_type="percent", discount_value=20) for one in "ab"),
        terms={"a": {"min_margin": 50}},
        products={"p1": {"unit_cost": 401}},
    )
    assert filtered(index, ("p1", 1, 1_000)) == (["b"], {"min_margin": 1})
    assert filtered(index, ("p1", 1, 1_003))[0] == ["a", "b"]
    assert filtered(index)[0] == ["a", "b"]


def test_total_cap_counts_redemptions_and_reservations_of_all_users_but_not_the_own_reservation():
    index = index_of(coupon("a", "1"), coupon("b", "1"), terms={"a": {"total_limit": 3}})
    assert filtered(index, ledger=used(uses={"a": 2, "b": 9}))[0] == ["a", "b"]
    assert filtered(index, ledger=used(uses={"a": 3})) == (["b"], {"usage_cap_total": 1})
    assert filtered(index, ledger=used(uses={"a": 3}, held={"a": ("1", 0)}))[0] == ["a", "b"]


def test_coupon_with_a_total_limit_of_zero_is_never_shown():
    assert filtered(index_of(coupon("a", "1"), terms={"a": {"total_limit": 0}}))[0] == []


def test_cap_of_a_period_counts_the_redemptions_within_it():
    index = index_of(coupon("a", "1"), terms={"a": {"period_limit": 2, "period_days": 7}})
    older = [("a", NOW - 7 * DAY), ("a", NOW - 1)]
    assert filtered(index, ledger=used(redeemed=older))[0] == ["a"]
    newer = [("a", NOW - 7 * DAY + 1), ("a", NOW)]
    assert filtered(index, ledger=used(redeemed=newer)) == ([], {"usage_cap_period": 1})


def test_frequency_cap_counts_the_impressions_within_its_period():
    terms = {"a": {"impression_limit": 2, "impression_days": 1}}
    index = index_of(coupon("a", "1"), terms=terms)
    ledger = used(seen=[("a", NOW - DAY), ("a", NOW - 1)])
    assert filtered(index, ledger=ledger)[0] == ["a"]
    assert ledger.reads == [("900", NOW - DAY, NOW)]
    ledger = used(seen=[("a", NOW - DAY + 1), ("a", NOW)])
    assert filtered(index, ledger=ledger) == ([], {"frequency_cap": 1})


def test_event_in_the_future_of_a_clock_that_was_set_back_counts_within_one_period():
    limits = {"period_limit": 1, "period_days": 1, "impression_limit": 1, "impression_days": 1}
    index = index_of(coupon("a", "1"), terms={"a": limits})
    for known, rule in (("redeemed", "usage_cap_period"), ("seen", "frequency_cap")):
        near, far = used(**{known: [("a", NOW + DAY - 1)]}), used(**{known: [("a", NOW + DAY)]})
        assert filtered(index, ledger=near, until=END_OF_TIME) == ([], {rule: 1})
        assert filtered(index, ledger=far, until=END_OF_TIME) == (["a"], {})
        assert far.reads == [("900", NOW - DAY, END_OF_TIME)]


def budgeted(**terms) -> CandidateIndex:
    """A percentage with these terms and an amount in campaign 1, and an amount in campaign 2."""
    return index_of(
        coupon("percent", "1", discount_type="percent", discount_value=50),
        coupon("amount", "1", discount_type="amount_off", discount_value=300),
        coupon("other", "2", discount_type="amount_off", discount_value=300),
        terms={"percent": terms},
    )


@pytest.mark.parametrize(
    ("name", "spent"), [("campaign_budget", "spent"), ("user_budget", "spent_on_user")]
)
def test_budget_of_a_campaign_must_pay_for_one_more_use_of_each_of_its_coupons(name, spent):
    index = budgeted(**{name: 1_000})
    every = ["percent", "amount", "other"]
    assert filtered(index, ledger=used(**{spent: {"1": 700, "2": 9_000}}))[0] == every
    assert filtered(index, ledger=used(**{spent: {"1": 701}})) == (["percent", "other"], {name: 1})
    assert filtered(index, ledger=used(**{spent: {"1": 1_000}})) == (["other"], {name: 2})
    held = {"amount": ("1", 300)}
    assert filtered(index, ledger=used(**{spent: {"1": 1_000}}, held=held))[0] == [
        "amount",
        "other",
    ]


def test_percentage_without_a_cap_costs_its_discount_on_this_cart():
    index, ledger = budgeted(campaign_budget=1_000), used(spent={"1": 600})
    assert filtered(index, ("p1", 1, 800), ledger=ledger)[0] == ["percent", "amount", "other"]
    assert filtered(index, ("p1", 1, 801), ledger=ledger)[0] == ["amount", "other"]


def test_percentage_with_a_cap_costs_the_cap_on_any_cart():
    index = budgeted(campaign_budget=1_000, max_discount=401)
    for cart in ((), [("p1", 1, 10)]):
        assert filtered(index, *cart, ledger=used(spent={"1": 600}))[0] == ["amount", "other"]
        assert filtered(index, *cart, ledger=used(spent={"1": 599}))[0][0] == "percent"


def test_ledger_is_not_read_without_a_coupon_with_a_limit():
    ledger = FakeLedger(broken=True)
    assert filtered(index_of(coupon("a", "1")), ledger=ledger) == (["a"], {})


def test_while_the_ledger_is_down_only_coupons_without_its_limits_are_shown():
    terms = {
        "total": {"total_limit": 9},
        "period": {"period_limit": 9, "period_days": 1},
        "seen": {"impression_limit": 9, "impression_days": 1},
        "paid": {"campaign_budget": 10**6},
        "group": {"exclusivity_group": "g"},
    }
    coupons = [coupon(name, name, per_user_limit=1) for name in (*terms, "free")]
    index = index_of(*coupons, terms=terms)
    ledger, redeemed = FakeLedger(broken=True), {"free": 1}
    stayed, removed = filtered(index, ledger=ledger, redeemed=redeemed)
    assert (stayed, removed) == (["group"], {"limits_unknown": 4, "usage_cap": 1})


def test_holdout_gets_nothing_and_is_a_stable_share_of_the_users():
    index, half = index_of(coupon("a", "1")), RuleSettings(holdout_share=0.5)
    names = [str(number) for number in range(2_000)]
    held = [name for name in names if not filtered(index, settings=half, user_id=name)[0]]
    assert 900 < len(held) < 1_100
    assert filtered(index, settings=half, user_id=held[0]) == ([], {"holdout": 1})
    assert held == [name for name in names if half.is_held_out(name)]
    more = RuleSettings(holdout_share=0.6)
    assert all(more.is_held_out(name) for name in held), "a larger share keeps the users"
    other = RuleSettings(holdout_share=0.5, holdout_salt="spring")
    assert 400 < sum(other.is_held_out(name) for name in held) < 600
    assert not any(RuleSettings().is_held_out(name) for name in names)
    assert all(RuleSettings(holdout_share=1.0).is_held_out(name) for name in names)


def test_every_rule_has_a_sentence_on_the_coupons_that_it_removes():
    for rule in (*RULES.values(), *USAGE_RULES.values()):
        assert rule.removes.__doc__.strip().partition("\n\n")[0].endswith(".")
