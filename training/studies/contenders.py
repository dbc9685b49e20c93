"""All models that a report compares with the ranker, by the names that it shows."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from feature_repo import names
from training.data.frame import RankingFrame, take
from training.data.purchase_matrix import PurchaseMatrix
from training.evaluation.compare import RANKER
from training.models import baselines, collaborative
from training.models.ranker import RankerConfig, fit, predict
from training.studies.backtest import Fold, Scorer

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

BLENDED = (names.RULE_NAME, "item_based_cosine", "matrix_factorization", "content", "popularity")
"""The models whose mean is the hybrid."""

REFRESHES = 3
"""How many times the recommenders read all purchases again during one test.

Reading them at the start of every campaign would add minutes to a retrain.
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
    cached_folds: int = 1,
) -> dict[str, Scorer]:
    """Returns all scorers by name: ranker, plain rules, recommenders, hybrid, classifiers.

    ``purchases`` reads the purchases known before an instant (int64 microseconds). The purchases
    and the recommenders' scores of the last ``cached_folds`` folds stay in a cache.
    """
    cached_purchases = lru_cache(maxsize=cached_folds)(purchases)
    recommenders: dict[str, Callable[[PurchaseMatrix], np.ndarray]] = {
        "own_purchases_decayed": collaborative.decayed_purchases,
        "user_based_cosine": collaborative.user_based,
        "user_based_pearson": partial(collaborative.user_based, similarity="pearson"),
        "item_based_cosine": collaborative.item_based,
        "item_based_pearson": partial(collaborative.item_based, similarity="pearson"),
        "matrix_factorization": partial(collaborative.matrix_factorization, seed=seed),
        "content": collaborative.content,
    }
    scorers: dict[str, Scorer] = {RANKER: partial(_ranker, config)}
    for name in baselines.PLAIN_RULES:
        scorers[name] = partial(_rule, name, seed)
    for name, score in recommenders.items():
        # The hybrid uses its parts' scores of the same folds again.
        recommender = partial(_recommender, cached_purchases, score)
        scorers[name] = _cached(recommender, cached_folds)
    parts = {name: scorers[name] for name in BLENDED}
    scorers["hybrid"] = partial(_hybrid, parts)
    for name in baselines.classifiers(seed):
        scorers[name] = partial(_classifier, name, seed)
    return scorers


def _cached(score: Scorer, size: int) -> Scorer:
    """Caches a scorer's scores of the last ``size`` folds, without the folds, which are large."""
    cache: dict[tuple[int, tuple[str, ...], int], np.ndarray] = {}

    def scores(fold: Fold) -> np.ndarray:
        key = (fold.start, fold.campaigns, len(fold.test))
        if key not in cache:
            cache[key] = score(fold)
            if len(cache) > size:
                del cache[next(iter(cache))]
        return cache[key]

    return scores


def score_baselines(
    train: RankingFrame,
    test: RankingFrame,
    config: RankerConfig,
    purchases: Callable[[int], PurchaseMatrix],
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Baselines:
    """Scores the test of one retrain with all contenders except the ranker and the plain rules.

    The classifiers learn from ``train``, as the ranker does. For the recommenders the campaigns of
    the test are split into ``REFRESHES`` runs. In each run they use the purchases known before its
    first campaign. A baseline that cannot be fitted is left out with its error as the reason.
    """
    scorers = contenders(config, purchases, seed, REFRESHES)
    wanted = [name for name in scorers if name not in (RANKER, *baselines.PLAIN_RULES)]
    classifiers = set(baselines.classifiers(seed))
    whole_test, runs = [_whole_test(train, test)], list(_runs(train, test))
    scores: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for done, name in enumerate(wanted):
        try:
            scores[name] = _scores(scorers[name], whole_test if name in classifiers else runs)
        except ValueError as error:
            left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("left out %s, which cannot be fitted: %s", name, left_out[name])
        progress(done + 1, len(wanted))
    return Baselines(scores, left_out)


_Run = tuple[np.ndarray, Fold]


def _whole_test(train: RankingFrame, test: RankingFrame) -> _Run:
    return np.arange(len(test)), Fold(int(test.as_of.min()), (), train, test)


def _runs(train: RankingFrame, test: RankingFrame) -> Iterator[_Run]:
    """Splits the test into ``REFRESHES`` runs of campaigns, in order of their first exposure."""
    campaigns, codes = np.unique(test.campaign_id.astype(str), return_inverse=True)
    first = np.full(len(campaigns), np.iinfo(np.int64).max)
    np.minimum.at(first, codes, test.as_of)
    for starts in np.array_split(np.unique(first), REFRESHES):
        if len(starts):
            rows = np.flatnonzero(np.isin(first[codes], starts))
            in_run = tuple(campaigns[np.isin(first, starts)].tolist())
            yield rows, Fold(int(starts[0]), in_run, train, take(test, rows))


def _scores(scorer: Scorer, runs: list[_Run]) -> np.ndarray:
    scores = np.empty(sum(len(rows) for rows, _ in runs))
    for rows, fold in runs:
        scores[rows] = scorer(fold)
    if not np.isfinite(scores).all():
        raise ValueError("Expected finite scores, got NaN or infinity: check the model's inputs.")
    return scores


def _ranker(config: RankerConfig, fold: Fold) -> np.ndarray:
    return predict(fit([fold.train], config), fold.test.inputs)


def _rule(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.rule_scores(fold.test, seed)[name]


def _recommender(
    purchases: Callable[[int], PurchaseMatrix],
    score: Callable[[PurchaseMatrix], np.ndarray],
    fold: Fold,
) -> np.ndarray:
    known = purchases(fold.start).for_coupons(fold.test.coupon_id)
    return known.pair_scores(fold.test.user_id, fold.test.coupon_id, score(known))


def _hybrid(parts: dict[str, Scorer], fold: Fold) -> np.ndarray:
    return baselines.hybrid_scores(fold.test, {name: score(fold) for name, score in parts.items()})


def _classifier(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.classifier_scores(
        baselines.classifiers(seed)[name], fold.train, fold.test, seed
    )
