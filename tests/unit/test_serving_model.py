import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from serving_fakes import FakeRanker, FakeRegistry

from feature_repo.transforms.request import RANKER_INPUTS
from serving.errors import ModelError
from serving.model import ModelSlot, RuleRanker
from serving.policy import margin_effects, own_spend_scores, rule_margin
from serving.registry import require_inputs

BROKEN = ModelError("coupon_ranker version 8 cannot be loaded.")


def test_rule_serves_while_there_is_no_champion():
    slot = ModelSlot(FakeRegistry())
    slot.refresh()
    assert (slot.current.name, slot.current.version) == ("own_spend", "rule-1")
    assert not slot.has_champion and slot.problem is None


def test_rule_ranker_scores_by_the_policy_that_training_evaluates():
    inputs = np.random.default_rng(7).random((5, len(RANKER_INPUTS)), dtype=np.float32)
    assert RuleRanker().score(inputs).tolist() == own_spend_scores(inputs).tolist()


def test_new_champion_is_swapped_in_and_loaded_once():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": FakeRanker("8")})
    slot = ModelSlot(registry)
    slot.refresh()
    slot.refresh()
    assert slot.current.version == "7" and slot.has_champion and registry.loads == 1
    registry.champion = "8"
    slot.refresh()
    assert slot.current.version == "8" and registry.loads == 2


def test_broken_champion_never_serves_and_the_old_one_goes_on():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": BROKEN})
    slot = ModelSlot(registry)
    slot.refresh()
    registry.champion = "8"
    slot.refresh()
    assert slot.current.version == "7" and slot.problem == str(BROKEN)


def test_broken_first_champion_leaves_the_rule():
    slot = ModelSlot(FakeRegistry("8", {"8": BROKEN}))
    slot.refresh()
    assert slot.current.name == "own_spend" and slot.problem == str(BROKEN)


def test_champion_goes_on_while_the_registry_is_down_and_the_problem_ends_with_it():
    registry = FakeRegistry("7", {"7": FakeRanker("7")})
    slot = ModelSlot(registry)
    slot.refresh()
    registry.champion = ModelError("The registry does not answer.")
    slot.refresh()
    assert slot.current.version == "7" and "does not answer" in slot.problem
    registry.champion = "7"
    slot.refresh()
    assert slot.problem is None and registry.loads == 1


def test_rule_serves_again_once_the_alias_is_taken_away():
    registry = FakeRegistry("7", {"7": FakeRanker("7")})
    slot = ModelSlot(registry)
    slot.refresh()
    registry.champion = None
    slot.refresh()
    assert not slot.has_champion


def test_model_with_the_inputs_of_serving_is_accepted():
    require_inputs("7", list(RANKER_INPUTS))


@pytest.mark.parametrize(
    "columns",
    [
        None,
        RANKER_INPUTS[:-1],
        (*RANKER_INPUTS, "one_more"),
        (RANKER_INPUTS[1], RANKER_INPUTS[0], *RANKER_INPUTS[2:]),
        ("other", *RANKER_INPUTS[1:]),
    ],
)
def test_model_with_other_inputs_or_another_order_is_refused(columns):
    with pytest.raises(ModelError, match="version 7 reads .* expected"):
        require_inputs("7", columns)


NOT_KNOWN = st.just(float("nan"))


@given(
    arrays(
        np.float32,
        (4, len(RANKER_INPUTS)),
        elements=st.one_of(NOT_KNOWN, st.floats(0, 1e6, width=32)),
    )
)
def test_effects_of_the_rule_and_of_the_margin_sum_to_them(inputs):
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
