"""Comparisons of models on the same groups: metrics, and intervals of the differences."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.data.frame import RankingFrame, groups
from training.evaluation import group_metrics
from training.evaluation.orders import WithoutOrder, without_order

logger = logging.getLogger(__name__)

RANKER = "ranker"
CHAMPION = "champion"
PRIMARY = "ndcg@10"
PRIMARY_CUTOFF = 10
LATER = "later_ndcg@10"
"""The primary metric with redemptions at the visit or later as relevant, over its own groups."""
REPEATS = 2000

_DRAWN_AT_ONCE = 200_000
"""Number of users drawn in one step of the bootstrap; limits the memory in use."""


@dataclass(frozen=True)
class Comparison:
    """The primary metric of the ranker and of another model on the same groups.

    ``difference`` is ranker minus other. ``low`` and ``high`` are its 95% interval, by paired
    bootstrap over users. ``groups`` counts the groups with an order, ``users`` their users.
    """

    other: str
    ranker_value: float
    other_value: float
    difference: float
    low: float
    high: float
    groups: int
    users: int


@dataclass(frozen=True)
class Evaluation:
    """Every model's metrics, and the ranker against the best plain rule and the champion.

    ``table`` maps models to metrics by name. ``against_champion`` is None without a champion.
    ``later`` compares with the same rule on redemptions at the visit or later. It is None if no
    group has an order then.
    """

    table: Mapping[str, Mapping[str, float]]
    against_rule: Comparison
    against_champion: Comparison | None
    without_order: WithoutOrder
    later: Comparison | None


@dataclass(frozen=True)
class SliceComparison:
    """The ranker against another model on one slice: a ``part`` of a ``slicing`` of the visits.

    ``groups`` counts those with an order. ``against`` is None for a slice without any.
    """

    slicing: str
    part: str
    groups: int
    against: Comparison | None


@dataclass(frozen=True)
class LeaderboardEntry:
    """One measured model: its metrics by name, and the ranker's comparison with it.

    ``against`` is None for the ranker itself.
    """

    model: str
    metrics: Mapping[str, float]
    against: Comparison | None


def evaluate(
    frame: RankingFrame,
    ranker: np.ndarray,
    rules: Mapping[str, np.ndarray],
    champion: np.ndarray | None = None,
    seed: int = 2017,
) -> Evaluation:
    """Compares the ranker's scores with those of the plain rules and of the champion.

    Each array has one score for each pair of ``frame``. The plain rule to beat is the best one on
    these same groups, which favors the rules. ``seed`` drives only the bootstrap.
    """
    scores = {RANKER: ranker, **rules} | ({} if champion is None else {CHAMPION: champion})
    rankings = _rankings(frame, scores)
    table = {name: _metrics(frame, ranking) for name, ranking in rankings.items()}
    best = max(rules, key=lambda name: table[name][PRIMARY])
    others = (best, *((CHAMPION,) if champion is not None else ()))
    against = {other: _against(frame, rankings, other, seed) for other in others}
    logger.info(
        "%s: ranker %.4f, %s %.4f",
        PRIMARY,
        against[best].ranker_value,
        best,
        against[best].other_value,
    )
    return Evaluation(
        table,
        against[best],
        against.get(CHAMPION),
        without_order(frame.qid, frame.label),
        _later(frame, rankings, best, seed),
    )


def _rankings(
    frame: RankingFrame, scores: Mapping[str, np.ndarray]
) -> dict[str, group_metrics.Ranked]:
    return {
        name: group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, score)
        for name, score in scores.items()
    }


def _metrics(frame: RankingFrame, ranking: group_metrics.Ranked) -> dict[str, float]:
    """Returns every metric of a model by name, with the check ``LATER`` at the end."""
    later = group_metrics.ndcg(group_metrics.relabeled(ranking, frame.later), PRIMARY_CUTOFF)
    found = group_metrics.all_metrics(ranking, frame.coupon_id)
    return found | {LATER: group_metrics.mean(later)}


def _against(
    frame: RankingFrame, rankings: Mapping[str, group_metrics.Ranked], other: str, seed: int
) -> Comparison:
    ours, theirs = (group_metrics.ndcg(rankings[name], PRIMARY_CUTOFF) for name in (RANKER, other))
    return compare(other, ours, theirs, frame.user_id[groups(frame)], seed)


def _later(
    frame: RankingFrame, rankings: Mapping[str, group_metrics.Ranked], other: str, seed: int
) -> Comparison | None:
    relabeled = {
        name: group_metrics.relabeled(rankings[name], frame.later) for name in (RANKER, other)
    }
    if not relabeled[RANKER].has_order.any():
        return None
    return _against(frame, relabeled, other, seed)


def compare(
    other: str, ours: np.ndarray, theirs: np.ndarray, users: np.ndarray, seed: int
) -> Comparison:
    """Compares two models by one value for each group; groups without a value (NaN) do not count.

    ``users`` has the user of each group. Raises ValueError if no group has a value.
    """
    has_value = ~np.isnan(ours)
    if not has_value.any():
        raise ValueError(
            "Expected redeemed and unredeemed coupons in some test group, got none in "
            f"{len(ours)} groups: test on a longer period."
        )
    difference, users = ours[has_value] - theirs[has_value], users[has_value]
    low, high = bootstrap_interval(difference, users, seed)
    return Comparison(
        other,
        float(ours[has_value].mean()),
        float(theirs[has_value].mean()),
        float(difference.mean()),
        low,
        high,
        int(has_value.sum()),
        len(set(users)),
    )


def leaderboard(
    frame: RankingFrame, scores: Mapping[str, np.ndarray], seed: int = 2017
) -> tuple[LeaderboardEntry, ...]:
    """Returns all models by the primary metric, best first.

    ``scores`` maps models, with ``RANKER`` among them, to one score for each pair.
    """
    rankings = _rankings(frame, scores)
    entries = [
        LeaderboardEntry(
            name,
            _metrics(frame, ranking),
            None if name == RANKER else _against(frame, rankings, name, seed),
        )
        for name, ranking in rankings.items()
    ]
    return tuple(sorted(entries, key=lambda one: -one.metrics[PRIMARY]))


def compare_slices(
    frame: RankingFrame,
    ranker: np.ndarray,
    other: str,
    theirs: np.ndarray,
    slicings: Mapping[str, np.ndarray],
    seed: int = 2017,
) -> tuple[SliceComparison, ...]:
    """Compares the ranker with another model on every part of every slicing.

    ``ranker`` and ``theirs`` have one score for each pair. ``slicings`` maps the name of a slicing
    to the part of every group.
    """
    ranker_values, other_values = (
        group_metrics.ndcg(
            group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, scores), PRIMARY_CUTOFF
        )
        for scores in (ranker, theirs)
    )
    users = frame.user_id[groups(frame)]
    return tuple(
        _slice(slicing, part, other, ranker_values[here], other_values[here], users[here], seed)
        for slicing, parts in slicings.items()
        for part in sorted(set(parts))
        for here in [parts == part]
    )


COLD_START = "cold start"


def cold_start_row(
    exposures: RankingFrame, ranker: np.ndarray, other: str, theirs: np.ndarray, seed: int = 2017
) -> SliceComparison:
    """Compares the ranker with another model at the start of campaigns, as a row of its own.

    ``exposures`` has one group for each exposure; a redemption at any later time counts. ``ranker``
    and ``theirs`` have one score for each of its pairs.
    """
    part = np.full(len(groups(exposures)), "start of a campaign", object)
    found = compare_slices(exposures, ranker, other, theirs, {COLD_START: part}, seed)
    return found[0] if found else SliceComparison(COLD_START, "start of a campaign", 0, None)


def _slice(
    slicing: str,
    part: str,
    other: str,
    ours: np.ndarray,
    theirs: np.ndarray,
    users: np.ndarray,
    seed: int,
) -> SliceComparison:
    counted = int((~np.isnan(ours)).sum())
    against = compare(other, ours, theirs, users, seed) if counted else None
    return SliceComparison(slicing, str(part), counted, against)


def bootstrap_interval(
    values: np.ndarray, users: np.ndarray, seed: int, repeats: int = REPEATS
) -> tuple[float, float]:
    """Returns the 95% interval of the mean of ``values``, by bootstrap over users.

    All groups of a user are resampled together, because they are not independent (percentile
    bootstrap over clusters, Efron and Tibshirani 1993, chapter 13).
    """
    codes = {user: code for code, user in enumerate(dict.fromkeys(users))}
    owner = np.fromiter((codes[user] for user in users), np.int64, len(users))
    total = np.bincount(owner, values)
    count = np.bincount(owner)
    draw = np.random.default_rng(seed).integers
    means: list[np.ndarray] = []
    at_once = max(1, _DRAWN_AT_ONCE // len(codes))
    for start in range(0, repeats, at_once):
        drawn = draw(0, len(codes), (min(at_once, repeats - start), len(codes)))
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
