import logging

import pytest

from serving.candidates.terms import placement_bit
from serving.candidates.unstated import NO_LIMIT, UNSTATED
from tests.support.serving_fakes import coupon, index_of


def test_plain_coupons_have_no_stated_terms():
    terms = index_of(coupon("a", "1"), coupon("b", "2")).terms
    assert terms.stated == frozenset()
    assert terms.total_limit.tolist() == [NO_LIMIT, NO_LIMIT]


def test_terms_follow_their_coupon_in_any_order_and_terms_of_other_coupons_are_ignored():
    given = {"z": {"total_limit": 9}, "b": {"total_limit": 2}, "a": {"min_margin": 5}}
    terms = index_of(coupon("a", "1"), coupon("b", "1"), terms=given).terms
    assert terms.total_limit.tolist() == [NO_LIMIT, 2] and terms.min_margin.tolist() == [5, -1]
    assert terms.stated == {"total_limit", "min_margin"}


def test_lowest_stated_budget_of_a_campaign_holds_for_all_its_coupons():
    given = {"a": {"campaign_budget": 500, "user_budget": 70}, "b": {"campaign_budget": 300}}
    index = index_of(*(coupon(one, "1") for one in "abc"), coupon("d", "2"), terms=given)
    assert index.terms.campaign_budget.tolist() == [300, 300, 300, NO_LIMIT]
    assert index.terms.user_budget.tolist() == [70, 70, 70, NO_LIMIT]


def test_same_text_is_the_same_exclusivity_group():
    given = {"a": {"exclusivity_group": "x"}, "c": {"exclusivity_group": "x"}}
    terms = index_of(*(coupon(one, "1") for one in "abc"), terms=given).terms
    assert terms.group[0] == terms.group[2] >= 0 and terms.group[1] == -1


def test_percentage_above_100_has_no_quote_and_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        index = index_of(coupon("a", "1", discount_type="percent", discount_value=101))
    assert index.terms.discounts.kind.tolist() == [UNSTATED]
    assert "coupon a takes 101 percent off, expected at most 100" in caplog.text


def test_coupon_without_a_value_has_no_quote():
    assert index_of(coupon("a", "1", discount_type="gift")).terms.discounts.kind[0] == UNSTATED


def test_unknown_placement_has_no_bit():
    with pytest.raises(ValueError):
        placement_bit("roof")
