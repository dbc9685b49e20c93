"""Quotes are exact, for every kind of discount and any cart."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.contract import DISCOUNT_TYPES, LARGEST
from feature_repo.transforms.request.cart import CartLine
from feature_repo.transforms.request.scope import Scope
from serving.candidates.cart import cart_of, line_amount
from serving.candidates.combination import excluding, stacked_quotes
from serving.candidates.discounts import GIFT, PERCENT, Discounts, coverage
from serving.candidates.quotes import Quote, quotes
from serving.candidates.unstated import NO_LIMIT, UNSTATED
from serving.schemas.recommendation import CartItem

PRODUCTS = ("p1", "p2", "p3", "elsewhere")


def discount(
    kind: str | None, value: int = 0, min_spend: int = 0, cap: int = NO_LIMIT, scope=("p1",)
):
    """The discount of one coupon; an empty scope covers the whole cart."""
    position = UNSTATED if kind is None else DISCOUNT_TYPES.index(kind)
    return Discounts(
        *(np.array([number], np.int64) for number in (position, value, min_spend, cap)),
        whole_cart=np.array([not scope]),
        scope=Scope.from_lists([list(scope)]),
    )


def quoted(one: Discounts, *lines: tuple[str, float, int]) -> Quote | None:
    cart = cart_of([CartLine(*line) for line in lines])
    return quotes(np.array([0]), coverage(one, cart))[0]


CART = (("p1", 2, 500), ("p2", 1, 1_000))


@pytest.mark.parametrize(
    ("kind", "value", "min_spend", "off", "cashback", "gift"),
    [
        ("percent", 20, 0, 200, 0, 0),
        ("amount_off", 150, 0, 150, 0, 0),
        ("amount_off", 5_000, 0, 1_000, 0, 0),
        ("amount_off_over_threshold", 150, 2_000, 150, 0, 0),
        ("amount_off_over_threshold", 150, 2_001, 0, 0, 0),
        ("gift", 80, 0, 0, 0, 80),
        ("gift", 80, 2_001, 0, 0, 0),
        ("cashback", 300, 0, 0, 300, 0),
        ("cashback", 5_000, 0, 0, 1_000, 0),
    ],
)
def test_each_kind_of_discount(kind, value, min_spend, off, cashback, gift):
    quote = quoted(discount(kind, value, min_spend), *CART)
    assert (quote.amount_off, quote.cashback, quote.gift_value) == (off, cashback, gift)
    assert (quote.type, quote.value, quote.covered_amount) == (kind, value, 1_000)
    assert quote.applies_to == ("p1",) and not quote.missing_product
    assert quote.missing_spend == max(0, min_spend - 2_000)


def test_minimum_spend_is_of_the_whole_cart_and_the_discount_of_the_covered_lines():
    quote = quoted(discount("percent", 50, 2_000), *CART)
    assert (quote.amount_off, quote.missing_spend) == (500, 0)
    assert quoted(discount("percent", 50, 2_300), *CART).missing_spend == 300


def test_minimum_spend_can_be_of_the_covered_lines():
    one = replace(discount("amount_off", 1_500, 2_000), min_of_covered=np.array([True]))
    quote = quoted(one, ("p1", 1, 1_000), ("p2", 1, 2_000))
    assert (quote.amount_off, quote.covered_amount, quote.missing_spend) == (0, 1_000, 1_000)
    assert quoted(one, ("p1", 2, 1_000)).amount_off == 1_500


def test_quote_without_a_cart_states_what_the_coupon_would_need():
    quote = quoted(discount("amount_off_over_threshold", 150, 2_000))
    assert (quote.amount_off, quote.missing_spend, quote.missing_product) == (0, 2_000, True)
    assert quote.applies_to == () and quote.covered_amount == 0


def test_cart_without_a_covered_product_gets_nothing_off():
    quote = quoted(discount("amount_off", 150), ("p2", 1, 1_000))
    assert (quote.amount_off, quote.missing_product) == (0, True)


def test_gift_comes_with_a_covered_product_that_costs_nothing():
    quote = quoted(discount("gift", 80), ("p1", 1, 0), ("p2", 1, 500))
    assert (quote.gift_value, quote.applies_to, quote.missing_product) == (80, ("p1",), False)
    assert quoted(discount("gift", 80), ("p2", 1, 500)).gift_value == 0
    assert quoted(discount("gift", 80, scope=())).gift_value == 0


def test_coupon_of_the_whole_cart_covers_every_product():
    quote = quoted(discount("percent", 10, scope=()), *CART)
    assert (quote.amount_off, quote.applies_to) == (200, ("p1", "p2"))


def test_product_on_two_lines_is_named_once_and_counts_with_both():
    quote = quoted(discount("percent", 10), ("p1", 1, 100), ("p2", 1, 1), ("p1", 1, 200))
    assert (quote.applies_to, quote.covered_amount, quote.amount_off) == (("p1",), 300, 30)


def test_coupon_without_a_stated_discount_has_no_quote():
    assert quoted(discount(None), *CART) is None


def test_discount_is_capped_at_the_max_discount_of_its_terms():
    assert quoted(discount("percent", 50, cap=120), *CART).amount_off == 120
    assert quoted(discount("cashback", 900, cap=120), *CART).cashback == 120


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [(0.5, 1, 1), (0.25, 1, 0), (1.5, 3, 5), (0.1, 5, 1), (3, 333, 999), (1e6, 1e11, LARGEST)],
)
def test_a_line_is_rounded_once_to_the_nearest_minor_unit_a_half_upward(quantity, price, amount):
    assert line_amount(float(quantity), int(price)) == amount


@pytest.mark.parametrize(
    ("quantity", "price", "covered", "off"),
    [(1_000, 0.0349, 3_490, 349), (100, 1.015, 10_150, 1_015), (0.435, 19.9, 866, 87)],
)
def test_line_is_rounded_and_not_the_price_of_one_unit(quantity, price, covered, off):
    line = CartItem(product_id="p1", quantity=quantity, unit_price=price).priced()
    quote = quoted(discount("percent", 10), ("p1", line.quantity, line.unit_price))
    assert (quote.covered_amount, quote.amount_off) == (covered, off)


_decimals = st.builds(
    lambda number, places: Decimal(number).scaleb(-places),
    st.integers(1, 10**9),
    st.integers(3, 12),
)


@given(_decimals, _decimals)
def test_line_is_the_exact_product_of_the_decimals_as_sent(quantity, price):
    line = CartItem.model_validate_json(
        f'{{"product_id": "p1", "quantity": {quantity:f}, "unit_price": {price:f}}}'
    ).priced()
    exact = Fraction(quantity) * Fraction(price) * 100
    assert line_amount(line.quantity, line.unit_price) == min(
        floor(exact + Fraction(1, 2)), LARGEST
    )


def test_percentage_is_of_the_sum_of_the_lines_and_a_half_goes_to_the_shopper():
    three = [("p1", 1, 5), ("p1", 1, 5), ("p1", 1, 5)]
    assert quoted(discount("percent", 10), *three).amount_off == 2
    assert quoted(discount("percent", 10), ("p1", 1, 4)).amount_off == 0


lines = st.tuples(
    st.sampled_from(PRODUCTS),
    st.floats(0.001, 1_000, allow_nan=False),
    st.integers(0, 10**7),
)
carts = st.lists(lines, max_size=8)
limits = st.sampled_from((NO_LIMIT, 0, 1, 50, 10_000))
discounts = st.builds(
    discount,
    kind=st.sampled_from(DISCOUNT_TYPES),
    value=st.integers(0, 100) | st.integers(0, 10**6),
    min_spend=st.sampled_from((0, 1, 100, 10**6, 10**9)),
    cap=limits,
    scope=st.lists(st.sampled_from(PRODUCTS[:3]), unique=True),
).map(lambda one: replace(one, value=np.where(one.kind == PERCENT, one.value % 101, one.value)))


@given(discounts, carts)
def test_a_quote_is_never_negative_and_money_never_above_what_the_covered_lines_cost(one, cart):
    quote = quoted(one, *cart)
    assert min(quote.amount_off, quote.cashback, quote.gift_value, quote.missing_spend) >= 0
    assert max(quote.amount_off, quote.cashback) <= quote.covered_amount
    assert quote.covered_amount <= sum(line_amount(q, p) for _, q, p in cart)
    assert max(quote.amount_off, quote.cashback) <= int(one.max_discount[0])


@given(discounts, carts, lines)
def test_a_larger_cart_never_gets_less(one, cart, more):
    before, after = quoted(one, *cart), quoted(one, *cart, more)
    for name in ("amount_off", "cashback", "gift_value", "covered_amount"):
        assert getattr(before, name) <= getattr(after, name), name
    assert before.missing_spend >= after.missing_spend
    assert set(before.applies_to) <= set(after.applies_to)


@given(st.integers(0, 100), carts)
def test_a_percentage_is_exact(percent, cart):
    quote = quoted(discount("percent", percent, scope=()), *cart)
    exact = Fraction(quote.covered_amount * percent, 100)
    assert quote.amount_off == floor(exact + Fraction(1, 2))
    amounts = [floor(Fraction(repr(q)) * p + Fraction(1, 2)) for _, q, p in cart]
    assert quote.covered_amount == sum(amounts)


@given(st.lists(discounts, min_size=2, max_size=4), carts)
def test_coupons_quoted_together_are_quoted_as_if_alone(several, cart):
    scopes = [[name for name in PRODUCTS if name in one.scope.index] for one in several]
    fields = ("kind", "value", "min_spend", "max_discount", "whole_cart")
    together = Discounts(
        *(np.concatenate([getattr(one, name) for one in several]) for name in fields),
        scope=Scope.from_lists(scopes),
    )
    cover = coverage(together, cart_of([CartLine(*line) for line in cart]))
    alone = [quoted(one, *cart) for one in several]
    assert quotes(np.arange(len(several)), cover) == alone
    assert quotes(np.array([1]), cover) == alone[1:2]


@given(discounts, carts)
def test_reserved_amount_is_never_below_the_value_of_the_coupon(one, cart):
    quote = quoted(one, *cart)
    cover = coverage(one, cart_of([CartLine(*line) for line in cart]))
    value = quote.amount_off + quote.cashback + quote.gift_value
    assert value <= cover.costs[0]
    is_open = one.kind[0] == PERCENT and one.max_discount[0] == NO_LIMIT
    assert not is_open or cover.costs[0] == value


def test_gift_may_be_worth_more_than_the_cart():
    assert quoted(discount("gift", 10_000), ("p1", 1, 1)).gift_value == 10_000
    assert DISCOUNT_TYPES[GIFT] == "gift"


def oracle_stack(several, scopes, cart) -> list[Fraction]:
    """What each coupon of a stack takes off, from the amounts that are left, line by line."""
    left = [Fraction(line_amount(q, p)) for _, q, p in cart]
    taken = []
    for one, scope in zip(several, scopes, strict=True):
        kind, value = DISCOUNT_TYPES[one.kind[0]], int(one.value[0])
        lines = [i for i, (name, _, _) in enumerate(cart) if not scope or name in scope]
        covered = sum((left[i] for i in lines), Fraction(0))
        off = covered * value / 100 if kind == "percent" else min(Fraction(value), covered)
        off = min(Fraction(floor(off + Fraction(1, 2))), int(one.max_discount[0]))
        applies = sum(left) >= int(one.min_spend[0]) and kind != "gift"
        taken.append(off if applies else Fraction(0))
        if taken[-1]:
            for i in lines:
                left[i] -= taken[-1] * left[i] / covered
    return taken


def together_of(several) -> tuple[Discounts, list[list[str]]]:
    scopes = [[name for name in PRODUCTS if name in one.scope.index] for one in several]
    fields = ("kind", "value", "min_spend", "max_discount", "whole_cart")
    arrays = (np.concatenate([getattr(one, name) for one in several]) for name in fields)
    return Discounts(*arrays, scope=Scope.from_lists(scopes)), scopes


@given(st.lists(discounts, min_size=2, max_size=4), carts)
def test_stacked_quotes_are_those_of_what_is_left_and_never_above_the_cart(several, cart):
    together, scopes = together_of(several)
    cover = coverage(together, cart_of([CartLine(*line) for line in cart]))
    stack = stacked_quotes(np.arange(len(several)), cover)
    money = [one.amount_off + one.cashback for one in stack]
    assert sum(money) <= cover.cart.total
    assert stack[0] == quotes(np.array([0]), cover)[0]
    whole = [one for one in several if not one.whole_cart[0]]
    if not whole:
        assert money == oracle_stack(several, scopes, cart)


@given(st.lists(discounts, min_size=2, max_size=4), carts)
def test_quotes_that_do_not_exclude_each_other_add_up_to_the_stack(several, cart):
    together, _ = together_of([replace(one, min_spend=one.min_spend * 0) for one in several])
    cover = coverage(together, cart_of([CartLine(*line) for line in cart]))
    rows = np.arange(len(several))
    alone, stack = quotes(rows, cover), stacked_quotes(rows, cover)
    found = excluding(rows, cover, alone)
    for place, others in enumerate(found):
        if others is None:
            assert stack[place].amount_off == alone[place].amount_off
        else:
            assert all(place in found[other] for other in others)
