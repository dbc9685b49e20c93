"""The explanation of a real champion sums to the score that it serves, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.names import HOME, RANKERS
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from feature_repo.transforms.request.reasons import effects_by_code
from serving.models.rankers import ChampionRanker
from tests.support.registered import fitted

VALUE = st.one_of(st.just(float("nan")), st.floats(0, 1e4, width=32))
ROWS = arrays(np.float32, (5, len(RANKER_INPUTS)), elements=VALUE)


@pytest.fixture(scope="module", params=RANKERS.values(), ids=RANKERS)
def champion(request):
    names = request.param
    return ChampionRanker(names, fitted(ranker=names), "1")


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_effects_by_code_and_the_base_sum_to_the_score(champion, rows):
    found = champion.explain(rows)
    sums = found.base + effects_by_code(found.by_input).sum(axis=1)
    np.testing.assert_allclose(sums, champion.score(rows), rtol=1e-5, atol=1e-4)


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_base_is_the_same_for_every_coupon(champion, rows):
    np.testing.assert_allclose(
        champion.explain(rows).base, champion.explain(rows).base[0], atol=1e-4
    )


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_cart_has_no_effect_at_home(rows):
    home, width = ChampionRanker(HOME, fitted(ranker=HOME), "1"), len(INPUTS_OF["home"])
    found = home.explain(rows)
    assert found.by_input.shape == rows.shape and not found.by_input[:, width:].any()
    without = rows.copy()
    without[:, width:] = np.nan
    np.testing.assert_array_equal(home.score(rows), home.score(without))
