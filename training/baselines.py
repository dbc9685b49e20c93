"""The plain rules that a ranker has to beat, each one score a pair of the frame."""

from collections.abc import Mapping

import numpy as np

from feature_repo import names
from serving import policy
from training.frame import RankingFrame, column


def random_scores(frame: RankingFrame, seed: int) -> np.ndarray:
    """Any order: uniform scores from a seed."""
    return np.random.default_rng(seed).random(len(frame))


def popularity_scores(frame: RankingFrame) -> np.ndarray:
    """How many users have bought a product that the coupon covers, so far; unknown is 0."""
    return np.nan_to_num(column(frame, "covered_buyer_count_all").astype(np.float64))


def own_purchases_scores(frame: RankingFrame) -> np.ndarray:
    """What the user bought of the coupon's products, by the rule that the service falls back on."""
    return policy.own_purchases_scores(frame.inputs)


def plain_rules(frame: RankingFrame, seed: int) -> Mapping[str, np.ndarray]:
    """The scores of every plain rule by its name."""
    return {
        "random": random_scores(frame, seed),
        "popularity": popularity_scores(frame),
        names.RULE_NAME: own_purchases_scores(frame),
    }
