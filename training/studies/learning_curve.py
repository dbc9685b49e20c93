"""Learning curve: the quality of rankers that learned from a part of the households."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.frame import RankingFrame, concatenated, groups, take
from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF
from training.evaluation.orders import rows_with_order
from training.models.ranker import RankerConfig, RankerError, fit, informative, predict

SHARES = (1 / 8, 1 / 4, 1 / 2)
DRAWS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Point:
    """A ranker that learned from a ``share`` of the households, and its NDCG@10 on test.

    ``groups`` counts the visits with an order, ``redeemed`` their redeemed coupons. ``value`` is
    None if there was no such visit.
    """

    share: float
    draw: int
    groups: int
    redeemed: int
    value: float | None


def learning_curve(
    known: Sequence[RankingFrame],
    test: RankingFrame,
    config: RankerConfig,
    whole: np.ndarray,
    progress: Progress = lambda done, total: None,
) -> tuple[Point, ...]:
    """Fits a ranker on each of ``SHARES`` of the households, ``DRAWS`` times, and tests it.

    Households are drawn at random, so every share has the same weeks and campaigns, and only the
    amount of data differs. Within a draw, a larger share contains the smaller ones. ``whole`` has
    the test scores of the ranker that learned from ``known``, which is the last point.
    """
    # Only groups with an order have a value. They are few, so only they are scored.
    counted = rows_with_order(test.qid, test.label)
    test, whole = take(test, counted), whole[counted]
    everyone = np.unique(np.concatenate([part.user_id for part in known]).astype(str))
    train = concatenated(*map(informative, known))
    owner = np.searchsorted(everyone, train.user_id.astype(str))
    points, total = [], DRAWS * len(SHARES)
    for draw in range(DRAWS):
        place = np.random.default_rng((config.seed, draw)).permutation(len(everyone))
        for share in SHARES:
            part = take(train, place[owner] < max(1, round(share * len(everyone))))
            points.append(_point(part, test, config, share, draw))
            progress(len(points), total)
    return (*points, _measured(train, test, whole, 1.0, 0))


def _point(
    part: RankingFrame, test: RankingFrame, config: RankerConfig, share: float, draw: int
) -> Point:
    try:
        scores = predict(fit([part], config), test.inputs, config.ranker)
    except RankerError:
        return Point(share, draw, 0, 0, None)
    return _measured(part, test, scores, share, draw)


def _measured(
    part: RankingFrame, test: RankingFrame, scores: np.ndarray, share: float, draw: int
) -> Point:
    ranking = group_metrics.ranked(test.qid, test.coupon_id, test.label, scores)
    value = group_metrics.mean(group_metrics.ndcg(ranking, PRIMARY_CUTOFF))
    return Point(share, draw, len(groups(part)), int(part.label.sum()), float(value))
