"""Everything that is ranked beside the ranker in a backtest, under the name that a report shows."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from feature_repo import names
from training import baselines, neighbors
from training.backtest import Fold, Scorer
from training.evaluate import RANKER
from training.purchases import Purchases
from training.ranker import RankerConfig, fit, predict

BLENDED = (names.RULE_NAME, "item_based_cosine", "matrix_factorization", "content", "popularity")
"""What the hybrid is the mean of."""


def contenders(
    config: RankerConfig, purchases: Callable[[int], Purchases], seed: int
) -> dict[str, Scorer]:
    """The ranker first, then the rules, the textbook's recommenders and scikit-learn's models.

    ``purchases`` gives what was known before an instant (int64 microseconds).
    """
    known = lru_cache(maxsize=1)(purchases)
    from_purchases = {
        "own_purchases_decayed": neighbors.decayed_purchases,
        "user_based_cosine": neighbors.user_based,
        "user_based_pearson": partial(neighbors.user_based, similarity="pearson"),
        "item_based_cosine": neighbors.item_based,
        "item_based_pearson": partial(neighbors.item_based, similarity="pearson"),
        "matrix_factorization": partial(neighbors.matrix_factorization, seed=seed),
        "content": neighbors.content,
    }
    scorers: dict[str, Scorer] = {RANKER: partial(_ranker, config)}
    for name in baselines.PLAIN_RULES:
        scorers[name] = partial(_rule, name, seed)
    for name, score in from_purchases.items():
        # The hybrid asks again for what its parts said of the same fold.
        scorers[name] = lru_cache(maxsize=1)(partial(_of_purchases, known, score))
    parts = {name: scorers[name] for name in BLENDED}
    scorers["hybrid"] = partial(_hybrid, parts)
    for name in baselines.learned(seed):
        scorers[name] = partial(_learned, name, seed)
    return scorers


def _ranker(config: RankerConfig, fold: Fold) -> np.ndarray:
    return predict(fit([fold.train], config), fold.test.inputs)


def _rule(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.plain_rules(fold.test, seed)[name]


def _of_purchases(
    known: Callable[[int], Purchases], score: Callable[[Purchases], np.ndarray], fold: Fold
) -> np.ndarray:
    then = known(fold.start).of_coupons(fold.test.coupon_id)
    return then.pairs(fold.test.user_id, fold.test.coupon_id, score(then))


def _hybrid(parts: dict[str, Scorer], fold: Fold) -> np.ndarray:
    return baselines.hybrid_scores(fold.test, {name: score(fold) for name, score in parts.items()})


def _learned(name: str, seed: int, fold: Fold) -> np.ndarray:
    return baselines.learned_scores(baselines.learned(seed)[name], fold.train, fold.test, seed)
