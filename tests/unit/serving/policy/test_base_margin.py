import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.policy.base_margin import BaseMargin, LinearPart, logarithms
from serving.policy.scores import COVERED_FIRST, COVERED_MARGIN, RULES

values = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))
matrices = arrays(np.float32, (3, len(RANKER_INPUTS)), elements=values)
parts = st.builds(
    LinearPart,
    st.dictionaries(st.sampled_from(RANKER_INPUTS), st.floats(-2, 2), max_size=12),
    st.floats(-5, 5),
)


def by_hand(part, row):
    """The sum in plain Python."""
    total = part.constant
    for name, weight in part.weights.items():
        value = float(row[RANKER_INPUTS.index(name)])
        if value > 0:
            total += weight * math.log1p(value)
    return total


@given(parts, matrices)
def test_linear_part_is_the_sum_of_weighted_logarithms(part, inputs):
    expected = [by_hand(part, row) for row in inputs]
    assert part.scores(inputs).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    effects = part.effects(inputs)
    assert (effects.sum(axis=1) + part.constant).tolist() == pytest.approx(expected, abs=1e-4)
    others = [place for place, name in enumerate(RANKER_INPUTS) if name not in part.weights]
    assert not effects[:, others].any()


@given(parts, arrays(np.float32, (40, len(RANKER_INPUTS)), elements=st.floats(0, 1e5, width=32)))
def test_sum_of_a_row_does_not_depend_on_other_rows(part, inputs):
    whole = part.scores(inputs)
    for start, stop in ((0, 1), (3, 20), (39, 40)):
        assert part.scores(inputs[start:stop]).tolist() == whole[start:stop].tolist()


@given(parts)
def test_linear_part_survives_its_text(part):
    assert LinearPart.from_json(part.to_json()) == part


@pytest.mark.parametrize(
    "text",
    ['{"weights": {"no_such_input": 1.0}, "constant": 0}', '{"weights": {}}', "[]", "{", "null"],
)
def test_text_of_another_kind_is_refused(text):
    with pytest.raises((ValueError, TypeError, KeyError)):
        LinearPart.from_json(text)


@given(st.sampled_from(sorted(RULES)), st.none() | parts, matrices)
def test_margin_is_that_of_the_rule_plus_the_linear_part(key, part, inputs):
    margin = BaseMargin(RULES[key], part)
    found = margin(inputs)
    assert found.dtype == np.float32
    expected = RULES[key].margin(inputs) + (part.scores(inputs) if part else 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    unknown = margin(np.full_like(inputs, np.nan))
    sums = margin.effects(inputs).sum(axis=1) + unknown
    np.testing.assert_allclose(sums, found, rtol=1e-4, atol=1e-4)


def test_coupon_in_the_cart_is_less_far_ahead_in_the_margin_than_in_the_rule():
    rule, row = RULES["checkout"], np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)
    row[0, RANKER_INPUTS.index("cart_covered_line_count")] = 1
    row[0, RANKER_INPUTS.index("percov")] = 0.01
    ahead = rule.scores(row)[0] - rule.margin(row)[0]
    assert ahead == pytest.approx(COVERED_FIRST - COVERED_MARGIN, rel=1e-6)
    row[0, RANKER_INPUTS.index("cart_covered_line_count")] = 0
    assert rule.scores(row)[0] == pytest.approx(rule.margin(row)[0], rel=1e-6)


def test_logarithm_of_an_unknown_or_negative_value_is_0():
    assert logarithms(np.array([np.nan, 0.0, -3.0])).tolist() == [0.0, 0.0, 0.0]
    assert logarithms(np.array([3.0])) == pytest.approx([math.log(4)])
