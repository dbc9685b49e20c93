"""What a ranker has to beat: the plain rules, and models of scikit-learn on the same inputs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from feature_repo import names
from serving.policy import scores
from training.data.frame import RankingFrame, column, group_sizes, groups, take

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

MOST_PAIRS = 40_000
"""The models of scikit-learn learn from so many pairs: all redeemed ones, and others drawn by a
seed. Of those there are hundreds to one; fewer leave the order of the probabilities as it is."""

PLAIN_RULES = ("random", "popularity", "own_purchases", names.RULE_NAME)


def random_scores(frame: RankingFrame, seed: int) -> np.ndarray:
    """Any order: uniform scores from a seed."""
    return np.random.default_rng(seed).random(len(frame))


def popularity_scores(frame: RankingFrame) -> np.ndarray:
    """How many users have bought a product that the coupon covers, so far; unknown is 0."""
    return np.nan_to_num(column(frame, "covered_buyer_count_all").astype(np.float64))


def own_purchases_scores(frame: RankingFrame) -> np.ndarray:
    """How often the user bought the coupon's products, ties by popularity."""
    return scores.own_purchases_scores(frame.inputs)


def own_spend_scores(frame: RankingFrame) -> np.ndarray:
    """What the user spent on the coupon's products: the rule that the service falls back on."""
    return scores.own_spend_scores(frame.inputs)


def plain_rules(frame: RankingFrame, seed: int) -> Mapping[str, np.ndarray]:
    """The scores of every plain rule by its name."""
    own = own_purchases_scores(frame), own_spend_scores(frame)
    scores = random_scores(frame, seed), popularity_scores(frame), *own
    return dict(zip(PLAIN_RULES, scores, strict=True))


def learned(seed: int) -> Mapping[str, "ClassifierMixin"]:
    """Classifiers of redeemed against not, by name, not fitted yet."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    return {
        "logistic_regression": _prepared(LogisticRegression(C=0.1, max_iter=300)),
        "random_forest": _prepared(
            RandomForestClassifier(100, min_samples_leaf=20, n_jobs=2, random_state=seed)
        ),
        "neural_network": _prepared(
            MLPClassifier((64,), alpha=1e-3, max_iter=20, early_stopping=True, random_state=seed)
        ),
    }


def _prepared(model):
    """A model behind the same steps: unknown is the median, counts are damped, all are scaled."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    steps = SimpleImputer(strategy="median", keep_empty_features=True), FunctionTransformer(_damped)
    return make_pipeline(*steps, StandardScaler(), model)


def _damped(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def learned_scores(
    model: "ClassifierMixin", train: RankingFrame, test: RankingFrame, seed: int
) -> np.ndarray:
    """Probabilities of redemption up to a factor in the odds, learned from ``MOST_PAIRS`` pairs."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    redeemed, other = np.flatnonzero(train.label), np.flatnonzero(train.label == 0)
    drawn = min(len(other), max(MOST_PAIRS - len(redeemed), len(redeemed)))
    other = np.random.default_rng(seed).choice(other, drawn, replace=False)
    known = take(train, np.sort(np.concatenate([redeemed, other])))
    with warnings.catch_warnings():
        # The number of rounds is bounded on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known.inputs, known.label)
    return model.predict_proba(test.inputs)[:, 1]


def hybrid_scores(frame: RankingFrame, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean of several models' ranks within the group, as parts of it: 1 is best."""
    return np.mean([rank_shares(frame, scores) for scores in parts.values()], axis=0)


def rank_shares(frame: RankingFrame, scores: np.ndarray) -> np.ndarray:
    """Each pair's rank in its group, from 1 for the best falling to 0; equal scores share one."""
    from scipy.stats import rankdata

    shares = np.empty(len(frame))
    starts = groups(frame)
    for start, size in zip(starts, group_sizes(starts, len(frame)), strict=True):
        ranks = rankdata(scores[start : start + size])
        shares[start : start + size] = (ranks - 1) / max(size - 1, 1)
    return shares
