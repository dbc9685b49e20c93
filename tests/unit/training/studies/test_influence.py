"""Influence of the inputs on the ranking, for planted effects."""

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import Effects
from tests.support.ranking_frames import numbered, ranking_frame
from training.studies.influence import influence

OWN, DAYS, SPEND = (
    RANKER_INPUTS.index(name) for name in ("own_purchase_count", "days_left", "spend_30d")
)


GROUPS, SIZE = 30, 15
VALUES = np.random.default_rng(0).random(GROUPS * SIZE)
FRAME = ranking_frame(
    numbered("q", GROUPS, SIZE),
    np.zeros(GROUPS * SIZE),
    own_purchase_count=VALUES,
    days_left=np.random.default_rng(1).permutation(VALUES),
)


def explain(inputs: np.ndarray) -> Effects:
    """Own purchases raise a score three times as much as days left lower it.

    Spend raises all scores equally.
    """
    effects = np.zeros(inputs.shape)
    effects[:, OWN], effects[:, DAYS] = 3 * inputs[:, OWN], -inputs[:, DAYS]
    effects[:, SPEND] = 50.0
    return Effects(effects, np.zeros(len(inputs)))


def measured(pairs: int = 10_000):
    return influence(FRAME, explain, 0, pairs)


def test_strength_is_the_share_of_all_effects_within_groups():
    found = measured()
    assert found.strongest(5) == ["own_purchase_count", "days_left"]
    assert found.strength["own_purchase_count"] == pytest.approx(0.75, abs=0.02)
    assert sum(found.strength.values()) == pytest.approx(1)
    assert found.by_code["own_purchases"] == pytest.approx(found.strength["own_purchase_count"])


def test_effect_that_is_equal_for_all_coupons_of_a_group_has_no_strength():
    assert measured().strength["spend_30d"] == 0


def test_direction_is_positive_if_a_higher_value_raises_the_score():
    found = measured()
    assert found.direction("own_purchase_count") > 0.8
    assert found.direction("days_left") < -0.8
    assert np.isnan(found.direction("is_married"))


def test_groups_are_sampled_as_a_whole_until_there_are_enough_pairs():
    found = measured(4 * SIZE)
    assert found.groups == 4 and len(found.effects) == 4 * SIZE
    assert measured().groups == GROUPS
    own = found.effects[:, OWN].reshape(-1, SIZE)
    np.testing.assert_allclose(own.mean(axis=1), 0, atol=1e-9)
