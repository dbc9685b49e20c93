"""The simulated upper bound of a ranking, for scores with known odds."""

import numpy as np
import pytest

from training.evaluation import group_metrics
from training.studies.ceiling import ceiling

GROUPS, SIZE = 1_500, 20


def _ids() -> tuple[np.ndarray, np.ndarray]:
    qid = np.repeat([f"q{n}" for n in range(GROUPS)], SIZE).astype(object)
    return qid, np.tile([f"k{n}" for n in range(SIZE)], GROUPS).astype(object)


def _redeemed(odds: np.ndarray, seed: int) -> np.ndarray:
    """Draws two redeemed coupons of each group, one after the other, by their odds."""
    rng, labels = np.random.default_rng(seed), np.zeros(len(odds), np.int8)
    for start in range(0, len(odds), SIZE):
        weights = np.exp(odds[start : start + SIZE])
        chosen = rng.choice(SIZE, 2, replace=False, p=weights / weights.sum())
        labels[start + chosen] = 1
    return labels


@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
def test_scores_proportional_to_the_true_odds_reach_the_ceiling(scale):
    qid, coupons = _ids()
    truth = np.random.default_rng(1).normal(size=len(qid))
    label = _redeemed(scale * truth, seed=2)
    # Another unit and offset of the scores must not change the ceiling.
    found = ceiling(qid, coupons, label, 7.0 * truth - 3.0, 10, seed=3)
    reached = group_metrics.ndcg(group_metrics.ranked(qid, coupons, label, truth), 10).mean()
    assert found.ndcg == pytest.approx(reached, abs=0.02)
    assert found.scale == pytest.approx(scale, rel=0.15)


def test_ceiling_of_random_scores_is_that_of_chance():
    qid, coupons = _ids()
    rng = np.random.default_rng(4)
    label = _redeemed(rng.normal(size=len(qid)) * 3, seed=5)
    found = ceiling(qid, coupons, label, rng.normal(size=len(qid)), 10, seed=6)
    assert found.recall == pytest.approx(10 / SIZE, abs=0.03)


def test_ceiling_without_a_redemption_is_refused():
    qid, coupons = _ids()
    with pytest.raises(ValueError, match="longer period"):
        ceiling(qid, coupons, np.zeros(len(qid), np.int8), np.zeros(len(qid)), 10, seed=1)
