"""All models that a report compares with the ranker, by the names that it shows."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from training.data.frame import RankingFrame, shared
from training.data.purchase_matrix import PurchaseMatrix
from training.evaluation.compare import RANKER
from training.models import baselines, collaborative
from training.models.ranker import RankerConfig, fit, predict
from training.studies.backtest import Fit, Score

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

BLENDED = ("own_spend", "item_based_cosine", "matrix_factorization", "content", "popularity")
"""The models whose mean is the hybrid."""

REFRESHES = 3
"""How many times the recommenders read all purchases again during one test.

Reading them every day would add minutes to a retrain.
"""


@dataclass(frozen=True)
class Baselines:
    """Scores of the test pairs by baseline; ``left_out`` maps the others to the reason."""

    scores: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]


def contenders(
    config: RankerConfig,
    purchases: Callable[[int], PurchaseMatrix],
    seed: int,
    cached_starts: int = 1,
) -> dict[str, Fit]:
    """Returns all models by name: ranker, plain rules, recommenders, hybrid, classifiers.

    ``purchases`` reads the purchases known before an instant (int64 microseconds). The purchases
    and the recommenders of the last ``cached_starts`` starts stay in a cache.
    """
    cached_purchases = lru_cache(maxsize=cached_starts)(purchases)
    recommenders: dict[str, Callable[[PurchaseMatrix], np.ndarray]] = {
        "own_purchases_decayed": collaborative.decayed_purchases,
        "user_based_cosine": collaborative.user_based,
        "user_based_pearson": partial(collaborative.user_based, similarity="pearson"),
        "item_based_cosine": collaborative.item_based,
        "item_based_pearson": partial(collaborative.item_based, similarity="pearson"),
        "matrix_factorization": partial(collaborative.matrix_factorization, seed=seed),
        "content": collaborative.content,
    }
    fits: dict[str, Fit] = {RANKER: partial(_ranker, config)}
    for name in baselines.plain_rules(config.ranker):
        fits[name] = partial(_rule, name, config.ranker, seed)
    for name, score in recommenders.items():
        # The hybrid uses its parts again.
        recommender = lru_cache(maxsize=cached_starts)(
            partial(_Recommender, cached_purchases, score)
        )
        fits[name] = partial(_recommender, recommender)
    fits["hybrid"] = partial(_hybrid, {name: fits[name] for name in BLENDED})
    for name in baselines.classifiers(seed):
        fits[name] = partial(_classifier, name, config.ranker, seed)
    return fits


def score_baselines(
    known: Sequence[RankingFrame],
    test: RankingFrame,
    config: RankerConfig,
    purchases: Callable[[int], PurchaseMatrix],
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Baselines:
    """Scores the test of one retrain with all contenders except the ranker and the plain rules.

    The classifiers learn from ``known``, as the ranker does. For the recommenders the visits of the
    test are split by time into ``REFRESHES`` runs. In each run they use the purchases known before
    its first visit. A baseline that cannot be fitted is left out with its error as the reason.
    """
    fits = contenders(config, purchases, seed, REFRESHES)
    wanted = [name for name in fits if name not in (RANKER, *baselines.plain_rules(config.ranker))]
    classifiers = set(baselines.classifiers(seed))
    whole_test, runs = [np.ones(len(test), bool)], list(_runs(test))
    scores: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for done, name in enumerate(wanted):
        try:
            scores[name] = _scores(
                fits[name], known, test, whole_test if name in classifiers else runs
            )
        except ValueError as error:
            left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("left out %s, which cannot be fitted: %s", name, left_out[name])
        progress(done + 1, len(wanted))
    return Baselines(scores, left_out)


def _runs(test: RankingFrame) -> Iterator[np.ndarray]:
    """Yields masks that split the test into ``REFRESHES`` runs of instants, in order of time."""
    for instants in np.array_split(np.unique(test.as_of), REFRESHES):
        if len(instants):
            yield (test.as_of >= instants[0]) & (test.as_of <= instants[-1])


def _scores(
    fit_model: Fit, known: Sequence[RankingFrame], test: RankingFrame, runs: Sequence[np.ndarray]
) -> np.ndarray:
    scores = np.empty(len(test))
    for rows in runs:
        part = shared(test, rows)
        scores[rows] = fit_model(known, int(part.as_of.min()))(part)
    if not np.isfinite(scores).all():
        raise ValueError("Expected finite scores, got NaN or infinity: check the model's inputs.")
    return scores


def _ranker(config: RankerConfig, known: Sequence[RankingFrame], start: int) -> Score:
    model = fit(known, config)
    return lambda frame: predict(model, frame.inputs, config.ranker)


def _rule(name: str, ranker: str, seed: int, known: Sequence[RankingFrame], start: int) -> Score:
    return lambda frame: baselines.rule_scores(frame, ranker, seed)[name]


class _Recommender:
    """A recommender of one start; it scores a coupon for all users when the coupon first comes."""

    def __init__(
        self,
        purchases: Callable[[int], PurchaseMatrix],
        score: Callable[[PurchaseMatrix], np.ndarray],
        start: int,
    ) -> None:
        self._purchases, self._score = purchases(start), score
        self._known = self._purchases.for_coupons(())
        self._scores = np.empty((len(self._purchases.users), 0))

    def scores(self, frame: RankingFrame) -> np.ndarray:
        """Returns the score of each pair; a user or coupon without purchases scores 0."""
        new = self._purchases.for_coupons(
            one for one in frame.coupon_id if one not in self._known.coupons
        )
        if new.coupons:
            self._scores = np.concatenate([self._scores, self._score(new)], axis=1)
            self._known = self._purchases.for_coupons([*self._known.coupons, *new.coupons])
        return self._known.pair_scores(frame.user_id, frame.coupon_id, self._scores)


def _recommender(
    recommender: Callable[[int], _Recommender], known: Sequence[RankingFrame], start: int
) -> Score:
    return recommender(start).scores


def _hybrid(parts: Mapping[str, Fit], known: Sequence[RankingFrame], start: int) -> Score:
    fitted = {name: part(known, start) for name, part in parts.items()}
    return lambda frame: baselines.hybrid_scores(
        frame, {name: score(frame) for name, score in fitted.items()}
    )


def _classifier(
    name: str, ranker: str, seed: int, known: Sequence[RankingFrame], start: int
) -> Score:
    model = baselines.fitted_classifier(baselines.classifiers(seed)[name], known, ranker, seed)
    return lambda frame: baselines.redeemed_probabilities(model, frame.inputs, ranker)
