import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.models.rankers import RuleRanker
from serving.policy.scores import RULES


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_ranker_scores_by_the_policy_that_training_evaluates(rule):
    inputs = np.random.default_rng(7).random((5, len(RANKER_INPUTS)), dtype=np.float32)
    assert RuleRanker(rule).score(inputs).tolist() == rule.scores(inputs).tolist()


UNKNOWN = st.just(float("nan"))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(
    arrays(
        np.float32,
        (4, len(RANKER_INPUTS)),
        elements=st.one_of(UNKNOWN, st.floats(0, 1e6, width=32)),
    )
)
def test_effects_of_the_rule_and_of_the_margin_sum_to_their_scores(rule, inputs):
    unknown = np.full_like(inputs, np.nan)
    found = RuleRanker(rule).explain(inputs)
    sums = found.base + found.by_input.sum(axis=1)
    np.testing.assert_allclose(sums, rule.scores(inputs), rtol=1e-12)
    of_margin = rule.margin_effects(inputs)
    margin = rule.margin(inputs) - rule.margin(unknown)
    np.testing.assert_allclose(of_margin.sum(axis=1), margin, rtol=1e-5, atol=1e-5)
    others = np.delete(np.arange(len(RANKER_INPUTS)), rule.reads)
    assert not found.by_input[:, others].any()
    scope = RANKER_INPUTS.index("scope_product_count")
    assert not of_margin[:, others[others != scope]].any()
