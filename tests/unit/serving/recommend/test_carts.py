"""Carts as shops have them: deposits, vouchers, zero quantities, unknown products."""

import pytest

from serving.models.rankers import RuleRanker
from serving.models.slot import Models
from serving.policy.scores import RULES
from serving.recommend.decision import Records
from serving.recommend.recommender import Rankers, Reads, Recommender
from serving.runtime.clock import Clock
from serving.schemas.recommendation import RecommendationAnswer, RecommendationRequest
from tests.support.serving_fakes import WATERMARK, FakeLog, FakeOnline, coupon, index_of, user

OPEN = {"audience": "open", "discount_type": "percent"}
TEN = coupon("ten", "1", ("p-002",), discount_value=10, **OPEN)
WHOLE = coupon("whole", "1", discount_value=10, **OPEN)
MINIMUM = coupon("minimum", "1", ("p-002",), discount_value=10, min_spend=1_900, **OPEN)
GOODS = {"product_id": "p-002", "quantity": 2, "unit_price": 10.0}
DEPOSIT = {"product_id": "deposit-return", "quantity": 6, "unit_price": -0.25}


def answer(*cart: dict, coupons=(TEN, WHOLE), log=None, **ask) -> RecommendationAnswer:
    index = index_of(*coupons)
    decides = Recommender(
        reads=Reads(FakeOnline(), lambda at: index),
        rankers=Rankers(lambda key: Models(RuleRanker(RULES[key]))),
        records=Records(log or FakeLog()),
        clock=Clock(lambda: WATERMARK),
        new_id=lambda: "request-1",
    )
    body = {"user_id": "u-01", "placement": "checkout", "cart": list(cart)} | ask
    return decides.decide(RecommendationRequest.model_validate(body), user()).body


def quoted(found: RecommendationAnswer) -> dict[str, tuple[int, int]]:
    """Maps each coupon to what it covers and takes off."""
    pairs = ((one.coupon_id, one.quote) for one in found.recommendations)
    return {name: (quote.covered_amount, quote.amount_off) for name, quote in pairs}


def notes(found: RecommendationAnswer) -> list[tuple[int, str]]:
    return [(one.line, one.note.split(":")[0].split(";")[0]) for one in found.cart_notes or ()]


LOWERS = "lowers the cart's total"


def test_returned_deposit_lowers_the_total_and_not_what_another_product_covers():
    found = answer(GOODS, DEPOSIT)
    assert quoted(found) == {"ten": (2_000, 200), "whole": (1_850, 185)}
    assert notes(found) == [(1, LOWERS)]
    assert found.recommendations[0].quote.applies_to == ("p-002",)


def test_minimum_spend_is_of_the_total_after_deductions():
    assert answer(GOODS, DEPOSIT, coupons=(MINIMUM,)).removed == {"min_spend": 1}
    assert quoted(answer(GOODS, coupons=(MINIMUM,))) == {"minimum": (2_000, 200)}


def test_returned_unit_of_a_covered_product_lowers_what_the_coupon_covers():
    back = GOODS | {"quantity": -1}
    assert quoted(answer(GOODS, back)) == {"ten": (1_000, 100), "whole": (1_000, 100)}


@pytest.mark.parametrize("back", [DEPOSIT, GOODS | {"quantity": -1}])
def test_cart_of_deductions_alone_has_no_goods_for_a_coupon(back):
    found = answer(back)
    assert found.recommendations == () and found.removed == {"product_scope": 2}
    assert notes(found) == [(0, LOWERS)]


def test_discount_is_at_most_what_a_voucher_leaves_to_pay():
    voucher = {"product_id": "voucher", "quantity": 1, "unit_price": -19.5}
    five = coupon("five", "1", ("p-002",), audience="open", discount_type="amount_off")
    found = answer(GOODS, voucher, coupons=(five | {"discount_value": 500},))
    assert quoted(found) == {"five": (2_000, 50)}


def test_line_without_units_is_left_out():
    found = answer(GOODS, GOODS | {"quantity": 0, "unit_price": 5.0})
    assert quoted(found) == {"ten": (2_000, 200), "whole": (2_000, 200)}
    assert notes(found) == [(1, "left out")]


def test_line_that_is_negative_twice_is_left_out():
    found = answer(GOODS, DEPOSIT | {"quantity": -6})
    assert quoted(found)["whole"] == (2_000, 200) and notes(found) == [(1, "left out")]


def test_plain_cart_has_no_notes():
    assert answer(GOODS).cart_notes is None


def test_rankers_and_the_log_have_the_goods_alone():
    log = FakeLog()
    answer(GOODS, DEPOSIT, log=log)
    (decision,) = log.decisions
    assert list(decision.cart_product_ids) == ["p-002"]
    assert list(decision.cart_unit_prices) == [1_000.0]


SIXTY = {"discount_value": 60} | OPEN
TWO = (coupon("a", "1", ("p-001",), **SIXTY), coupon("b", "2", ("p-001",), **SIXTY))
HUNDRED = {"product_id": "p-001", "quantity": 1, "unit_price": 100.0}


def test_answer_names_the_coupons_whose_quotes_cannot_be_added():
    found = answer(HUNDRED, GOODS, coupons=(*TWO, TEN))
    excludes = {one.coupon_id: one.excludes for one in found.recommendations}
    assert excludes == {"a": ("b",), "b": ("a",), "ten": None}
    assert quoted(found)["a"] == quoted(found)["b"] == (10_000, 6_000)


def test_coupon_that_takes_nothing_off_excludes_no_other():
    found = answer(HUNDRED, coupons=(*TWO[:1], coupon("free", "2", audience="open")))
    assert [one.excludes for one in found.recommendations] == [None, None]


def test_stacked_coupons_are_quoted_on_what_is_left_to_pay():
    found = answer(HUNDRED, coupons=TWO, combination="stack")
    offs = [one.quote.amount_off for one in found.recommendations]
    assert offs == [6_000, 2_400] and sum(offs) == 8_400
    assert [one.excludes for one in found.recommendations] == [None, None]
