import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.models.rankers import RuleRanker
from serving.policy.scores import margin_effects, own_spend_scores, rule_margin


def test_rule_ranker_scores_by_the_policy_that_training_evaluates():
    inputs = np.random.default_rng(7).random((5, len(RANKER_INPUTS)), dtype=np.float32)
    assert RuleRanker().score(inputs).tolist() == own_spend_scores(inputs).tolist()


UNKNOWN = st.just(float("nan"))


@given(
    arrays(
        np.float32,
        (4, len(RANKER_INPUTS)),
        elements=st.one_of(UNKNOWN, st.floats(0, 1e6, width=32)),
    )
)
def test_effects_of_the_rule_and_of_the_margin_sum_to_their_scores(inputs):
    found = RuleRanker().explain(inputs)
    sums = found.base + found.by_input.sum(axis=1)
    np.testing.assert_allclose(sums, own_spend_scores(inputs), rtol=1e-12)
    np.testing.assert_allclose(margin_effects(inputs).sum(axis=1), rule_margin(inputs), rtol=1e-6)
    moved = np.flatnonzero(margin_effects(inputs).any(axis=0))
    assert {RANKER_INPUTS[one] for one in moved} <= {
        "own_spend",
        "own_purchase_count",
        "covered_buyer_count_all",
    }
