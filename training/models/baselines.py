"""Baselines for the ranker: the plain rules, and scikit-learn classifiers on the same inputs."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from serving.policy.scores import RULES, PlainRule, own_purchases_scores, own_spend_scores
from training.data.frame import RankingFrame, column, group_sizes, groups

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin
    from sklearn.pipeline import Pipeline

MOST_PAIRS = 40_000
"""Largest number of pairs that a classifier learns from.

All redeemed pairs are used, and a sample of the others. Hundreds of unredeemed pairs come with each
redeemed one, so sampling them changes the probabilities but hardly their order.
"""

_SIMPLE = ("random", "popularity", "own_purchases", "own_spend")


PLAIN_RULES = (*_SIMPLE, *(rule.name for rule in RULES.values()))
"""The names of all plain rules."""


def plain_rules(ranker: str) -> tuple[str, ...]:
    """Returns the names of the plain rules that a ranker must beat; ``ranker`` is its key.

    A rule that reads the cart is no opponent of a ranker that does not.

    >>> plain_rules("home")[-1], plain_rules("checkout")[-2:]
    ('spend_percov', ('spend_percov', 'cart_percov'))
    """
    return (*_SIMPLE, *(rule.name for rule in _rules(ranker)))


def _rules(ranker: str) -> list[PlainRule]:
    width = len(INPUTS_OF[ranker])
    return [rule for rule in RULES.values() if max(rule.reads) < width]


def random_scores(frame: RankingFrame, seed: int) -> np.ndarray:
    """Returns uniform random scores."""
    return np.random.default_rng(seed).random(len(frame))


def popularity_scores(frame: RankingFrame) -> np.ndarray:
    """Returns the number of users who bought a covered product; an unknown number counts as 0."""
    return np.nan_to_num(column(frame, "covered_buyer_count_all").astype(np.float64))


def rule_scores(frame: RankingFrame, ranker: str, seed: int) -> Mapping[str, np.ndarray]:
    """Returns the scores of every plain rule by its name, in the order of ``plain_rules``.

    ``ranker`` is the key of the ranker. The last rule is the one that the service uses without a
    champion. ``seed`` drives the random rule.
    """
    scores = (
        random_scores(frame, seed),
        popularity_scores(frame),
        own_purchases_scores(frame.inputs),
        own_spend_scores(frame.inputs),
        *(rule.scores(frame.inputs) for rule in _rules(ranker)),
    )
    return dict(zip(plain_rules(ranker), scores, strict=True))


def classifiers(seed: int) -> Mapping[str, "Pipeline"]:
    """Returns unfitted classifiers of redeemed pairs by name."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    return {
        "logistic_regression": _with_preprocessing(LogisticRegression(C=0.1, max_iter=300)),
        "random_forest": _with_preprocessing(
            RandomForestClassifier(100, min_samples_leaf=20, n_jobs=2, random_state=seed)
        ),
        "neural_network": _with_preprocessing(
            MLPClassifier((64,), alpha=1e-3, max_iter=20, early_stopping=True, random_state=seed)
        ),
    }


def _with_preprocessing(model: "ClassifierMixin") -> "Pipeline":
    """Puts the same steps before a model: median for missing values, logarithm, scaling."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(fill, FunctionTransformer(_signed_log), StandardScaler(), model)


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def fitted_classifier(
    model: "Pipeline",
    known: Sequence[RankingFrame],
    ranker: str,
    seed: int,
    pairs: int = MOST_PAIRS,
) -> "Pipeline":
    """Fits a classifier on at most ``pairs`` pairs, and returns it.

    It reads the inputs of the ranker with this key, so none of the cart at home.
    Its probabilities are those of the sample. Sampling the unredeemed pairs multiplies all odds by
    one factor, so only the order of the probabilities has a meaning.
    """
    from sklearn.exceptions import ConvergenceWarning

    label = np.concatenate([part.label for part in known])
    redeemed, other = np.flatnonzero(label), np.flatnonzero(label == 0)
    wanted = min(len(other), max(pairs - len(redeemed), len(redeemed)))
    other = np.random.default_rng(seed).choice(other, wanted, replace=False)
    rows = np.sort(np.concatenate([redeemed, other]))
    with warnings.catch_warnings():
        # The number of iterations is limited on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(_inputs(known, rows)[:, : len(INPUTS_OF[ranker])], label[rows])


def _inputs(parts: Sequence[RankingFrame], rows: np.ndarray) -> np.ndarray:
    """Selects the inputs of some rows, ascending, as if the parts were one frame."""
    ends = np.cumsum([len(part) for part in parts])
    places = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - [len(part) for part in parts]
    return np.concatenate(
        [part.inputs[own - start] for part, own, start in zip(parts, places, starts, strict=True)]
    )


def redeemed_probabilities(model: "Pipeline", inputs: np.ndarray, ranker: str) -> np.ndarray:
    """Scores pairs with a fitted classifier, in blocks, because each step copies its input."""
    blocks = np.array_split(inputs[:, : len(INPUTS_OF[ranker])], len(inputs) // MOST_PAIRS + 1)
    return np.concatenate([model.predict_proba(one)[:, 1] for one in blocks if len(one)])


def hybrid_scores(frame: RankingFrame, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the mean relative rank within the group over several models."""
    return np.mean([relative_ranks(frame, scores) for scores in parts.values()], axis=0)


def relative_ranks(frame: RankingFrame, scores: np.ndarray) -> np.ndarray:
    """Returns each pair's rank in its group, scaled to [0, 1]; 1 is best.

    Equal scores share the mean of their ranks.
    """
    from scipy.stats import rankdata

    relative = np.empty(len(frame))
    starts = groups(frame)
    for start, size in zip(starts, group_sizes(starts, len(frame)), strict=True):
        ranks = rankdata(scores[start : start + size])
        relative[start : start + size] = (ranks - 1) / max(size - 1, 1)
    return relative
