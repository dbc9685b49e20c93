"""Reason codes: each input has one, effects add up, and texts have the values of the row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import (
    CODES,
    MOST_REASONS,
    NEGLIGIBLE,
    OTHER,
    REASON_CODES,
    code_of,
    effects_by_code,
    reasons,
)

EFFECT = st.floats(-10, 10, width=32)
VALUE = st.one_of(st.just(float("nan")), st.floats(-1e9, 1e9, width=32))


def row(**known: float) -> np.ndarray:
    values = dict.fromkeys(RANKER_INPUTS, float("nan")) | known
    return np.array([values[name] for name in RANKER_INPUTS], np.float32)


def effects(**moved: float) -> np.ndarray:
    return np.array([moved.get(name, 0.0) for name in RANKER_INPUTS])


def text(name: str, effect: float = 1.0, **known: float) -> str:
    """Returns the text of the only reason, when one input has an effect."""
    (reason,) = reasons(row(**known), effects(**{name: effect}))
    return reason.text


def test_every_input_has_a_reason_code():
    uncoded = [name for name, code in zip(RANKER_INPUTS, CODES, strict=True) if code == OTHER]
    assert not uncoded, f"add a prefix for these in request/reasons.py: {uncoded}"
    assert len(CODES) == len(RANKER_INPUTS)
    assert set(CODES) <= set(REASON_CODES)


def test_longest_prefix_decides():
    assert code_of("own_purchase_count") == "own_purchases"
    assert code_of("own_coupon_use_count") == "own_coupon_use"
    assert code_of("days_since_own_purchase") == "recent_purchase"
    assert code_of("discounted_purchase_count_7d") == "shopping_habit"
    assert code_of("unforeseen_input") == OTHER


@given(arrays(np.float32, (3, len(RANKER_INPUTS)), elements=EFFECT))
def test_effects_of_codes_sum_to_those_of_inputs(by_input):
    whole = by_input.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(effects_by_code(by_input).sum(axis=1), whole, rtol=0, atol=1e-9)


@given(
    arrays(np.float32, len(RANKER_INPUTS), elements=VALUE),
    arrays(np.float32, len(RANKER_INPUTS), elements=EFFECT),
)
def test_reasons_are_the_strongest_codes_and_each_is_a_sentence(values, by_input):
    found = reasons(values, by_input)
    strengths = np.sort(np.abs(effects_by_code(by_input[None, :])[0]))[::-1]
    expected = [size for size in strengths[:MOST_REASONS] if size > NEGLIGIBLE]
    assert [abs(one.effect) for one in found] == pytest.approx(expected)
    assert len({one.code for one in found}) == len(found)
    for one in found:
        assert one.text and "nan" not in one.text and not one.text.endswith(".")
        assert one.text.startswith("Against it: ") == (one.effect < 0)


@given(arrays(np.float32, len(RANKER_INPUTS), elements=VALUE), st.sampled_from(REASON_CODES))
def test_every_code_has_a_text_for_any_row(values, code):
    names = [name for name, own in zip(RANKER_INPUTS, CODES, strict=True) if own == code]
    if names:
        assert text_of(values, names[0])


def text_of(values: np.ndarray, name: str) -> str:
    (reason,) = reasons(values, effects(**{name: 1.0}))
    return reason.text


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("own_purchase_share", {"own_purchase_count": 14}, "Bought 14 times before"),
        ("own_purchase_count", {"own_purchase_count": 1}, "Bought once before"),
        (
            "own_spend",
            {"own_purchase_count": 2, "own_spend": 3210},
            "Bought twice before, for 32.10 in total",
        ),
        ("days_since_own_purchase", {"days_since_own_purchase": 5.8}, "Last bought 5 days ago"),
        (
            "days_since_own_purchase",
            {"days_since_own_purchase": 0.2},
            "Last bought less than a day ago",
        ),
        ("brand_purchase_share", {"brand_purchase_count": 12}, "Bought its brand 12 times"),
        ("days_left", {"days_left": 3.2}, "Ends in 3 days"),
        ("duration_days", {"days_left": 0.4}, "Ends within a day"),
        ("cart_covered_amount", {"cart_covered_quantity": 2}, "In the cart now: 2"),
        (
            "covered_purchase_count_30d",
            {"covered_buyer_count_all": 1234},
            "Bought by 1,234 shoppers",
        ),
        ("typical_discount_all", {"typical_discount_all": 150}, "Usually saves 1.50"),
        ("scope_brand_count", {"scope_product_count": 12}, "Covers 12 products"),
        ("is_campaign_type_a", {"is_campaign_type_a": 1}, "A type A campaign"),
        (
            "redemption_count_7d",
            {"redemption_count_90d": 3},
            "Used 3 coupons in the last 90 days",
        ),
        ("spend_7d", {"visit_day_count_90d": 24}, "Shopped on 24 of the last 90 days"),
        ("spend_7d", {"is_new_user": 1}, "A new shopper"),
    ],
)
def test_text_has_the_values_of_the_row(name, known, expected):
    assert text(name, **known) == expected


def test_text_of_a_negative_effect_starts_with_against_it():
    assert text("own_purchase_count", -1.0, own_purchase_count=0) == (
        "Against it: never bought before"
    )


def test_text_contains_no_value_of_the_household():
    texts = {text("income_min", income_min=income, kids_count=3) for income in (0, 1e7)}
    assert texts == {"Facts about the household"}


def test_negligible_effect_is_no_reason():
    assert reasons(row(), effects(own_purchase_count=NEGLIGIBLE / 2)) == ()
