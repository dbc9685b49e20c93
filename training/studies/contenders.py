"""Everything that is ranked beside the ranker, under the name that a report shows."""

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
"""What the hybrid is the mean of."""

REFRESHES = 3
"""So often, over the campaigns of one test, do the recommenders learn everybody's purchases anew:
at every start it would cost a retrain minutes."""


@dataclass(frozen=True)
class Baselines:
    """One score a test pair by name, and why a baseline that is not among them could not learn."""

    scores: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]


def contenders(
    config: RankerConfig, purchases: Callable[[int], PurchaseMatrix], seed: int, remembered: int = 1
) -> dict[str, Scorer]:
    """The ranker first, then the rules, the textbook's recommenders and scikit-learn's models.

    ``purchases`` gives what was known before an instant (int64 microseconds). Of the last
    ``remembered`` folds purchases and scores are kept, to be asked for again.
    """
    known = lru_cache(maxsize=remembered)(purchases)
    from_purchases = {
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
    for name, score in from_purchases.items():
        # The hybrid asks again for what its parts said of the same folds.
        scorers[name] = _remembering(remembered, partial(_of_purchases, known, score))
    parts = {name: scorers[name] for name in BLENDED}
    scorers["hybrid"] = partial(_hybrid, parts)
    for name in baselines.classifiers(seed):
        scorers[name] = partial(_learned, name, seed)
    return scorers


def _remembering(most: int, score: Scorer) -> Scorer:
    """The scorer, which keeps its scores of the last folds, but not the folds: they are large."""
    kept: dict[tuple, np.ndarray] = {}

    def scores(fold: Fold) -> np.ndarray:
        asked = (fold.start, fold.campaigns, len(fold.test))
        if asked not in kept:
            kept[asked] = score(fold)
            if len(kept) > most:
                del kept[next(iter(kept))]
        return kept[asked]

    return scores


def baselines_beside(
    train: RankingFrame,
    test: RankingFrame,
    config: RankerConfig,
    purchases: Callable[[int], PurchaseMatrix],
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Baselines:
    """Score the test of one retrain by all that a backtest ranks, but for ranker and plain rules.

    The classifiers learn from ``train``, as the ranker does. The recommenders know the purchases
    before the first campaign of each of ``REFRESHES`` runs of campaigns. One that cannot learn from
    these data is left out with what it said of them.
    """
    scorers = contenders(config, purchases, seed, REFRESHES)
    names = [name for name in scorers if name not in (RANKER, *baselines.PLAIN_RULES)]
    alone = set(baselines.classifiers(seed))
    runs = list(_runs(train, test))
    scores, left_out = {}, {}
    for done, name in enumerate(names):
        try:
            scores[name] = _scored(scorers[name], [_whole(train, test)] if name in alone else runs)
        except ValueError as error:
            left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("%s cannot learn from these data: %s", name, left_out[name])
        progress(done + 1, len(names))
    return Baselines(scores, left_out)


_Run = tuple[np.ndarray, Fold]


def _whole(train: RankingFrame, test: RankingFrame) -> _Run:
    return np.arange(len(test)), Fold(int(test.as_of.min()), (), train, test)


def _runs(train: RankingFrame, test: RankingFrame) -> Iterator[_Run]:
    """The test rows of consecutive campaigns, by their first exposure, in ``REFRESHES`` runs."""
    campaigns, codes = np.unique(test.campaign_id.astype(str), return_inverse=True)
    first = np.full(len(campaigns), np.iinfo(np.int64).max)
    np.minimum.at(first, codes, test.as_of)
    for starts in np.array_split(np.unique(first), REFRESHES):
        if len(starts):
            rows = np.flatnonzero(np.isin(first[codes], starts))
            named = tuple(campaigns[np.isin(first, starts)].tolist())
            yield rows, Fold(int(starts[0]), named, train, take(test, rows))


def _scored(scorer: Scorer, runs: list[_Run]) -> np.ndarray:
    scores = np.empty(sum(len(rows) for rows, _ in runs))
    for rows, fold in runs:
        scores[rows] = scorer(fold)
    if not np.isfinite(scores).all():
        raise ValueError("Expected a finite score for every pair, got others.")
    return scores


def _ranker(config: RankerConfig, fold: Fold) -> np.ndarray:
    return predict(fit([fold.train], config), fold.test.inputs)


def _rule(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.rule_scores(fold.test, seed)[name]


def _of_purchases(
    known: Callable[[int], PurchaseMatrix],
    score: Callable[[PurchaseMatrix], np.ndarray],
    fold: Fold,
) -> np.ndarray:
    then = known(fold.start).for_coupons(fold.test.coupon_id)
    return then.pair_scores(fold.test.user_id, fold.test.coupon_id, score(then))


def _hybrid(parts: dict[str, Scorer], fold: Fold) -> np.ndarray:
    return baselines.hybrid_scores(fold.test, {name: score(fold) for name, score in parts.items()})


def _learned(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.classifier_scores(
        baselines.classifiers(seed)[name], fold.train, fold.test, seed
    )
