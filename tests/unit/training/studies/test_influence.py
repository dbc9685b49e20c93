"""What moves the ranking, on effects that are known."""

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import Effects
from tests.unit.training.studies.test_examples import FRAME, GROUPS, SIZE
from training.studies.influence import influence

OWN, DAYS, SPEND = (
    RANKER_INPUTS.index(name) for name in ("own_purchase_count", "days_left", "spend_30d")
)


def explain(inputs: np.ndarray) -> Effects:
    """Three times as strong as days left, own purchases move a coupon up; spend moves all alike."""
    effects = np.zeros(inputs.shape)
    effects[:, OWN], effects[:, DAYS] = 3 * inputs[:, OWN], -inputs[:, DAYS]
    effects[:, SPEND] = 50.0
    return Effects(effects, np.zeros(len(inputs)))


def measured(pairs: int = 10_000):
    rng = np.random.default_rng(0)
    FRAME.inputs[:, OWN] = rng.random(len(FRAME))
    FRAME.inputs[:, DAYS] = rng.permutation(FRAME.inputs[:, OWN])
    return influence(FRAME, explain, 0, pairs)


def test_strength_is_the_part_of_all_movement_within_groups():
    found = measured()
    assert found.strongest(5) == ["own_purchase_count", "days_left"]
    assert found.strength["own_purchase_count"] == pytest.approx(0.75, abs=0.02)
    assert sum(found.strength.values()) == pytest.approx(1)
    assert found.by_code["own_purchases"] == pytest.approx(found.strength["own_purchase_count"])


def test_what_is_alike_for_every_coupon_of_a_group_moves_nothing():
    assert measured().strength["spend_30d"] == 0


def test_direction_says_whether_more_raises_or_lowers():
    found = measured()
    assert found.direction("own_purchase_count") > 0.8
    assert found.direction("days_left") < -0.8
    assert np.isnan(found.direction("is_married"))


def test_whole_groups_are_drawn_until_there_are_enough_pairs():
    found = measured(4 * SIZE)
    assert found.groups == 4 and len(found.effects) == 4 * SIZE
    assert measured().groups == GROUPS
    own = found.effects[:, OWN].reshape(-1, SIZE)
    np.testing.assert_allclose(own.mean(axis=1), 0, atol=1e-9)
