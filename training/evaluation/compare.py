"""Comparisons of models on the same groups: metrics, and intervals of the differences."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.data.frame import RankingFrame, groups
from training.evaluation import group_metrics

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

RANKER = "ranker"
CHAMPION = "champion"
PRIMARY = "ndcg@10"
PRIMARY_CUTOFF = 10
REPEATS = 2000

_DRAWN_AT_ONCE = 200_000
"""Number of users drawn in one step of the bootstrap; limits the memory in use."""


@dataclass(frozen=True)
class Comparison:
    """The primary metric of the ranker and of another model on the same groups.

    ``difference`` is ranker minus other. ``low`` and ``high`` are its 95% interval, by paired
    bootstrap over users. ``groups`` counts the groups with a redeemed coupon, ``users`` their
    users.
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
    """

    table: Mapping[str, Mapping[str, float]]
    against_rule: Comparison
    against_champion: Comparison | None


@dataclass(frozen=True)
class SliceComparison:
    """The ranker against another model on one slice: a ``part`` of a ``slicing`` of exposures.

    ``groups`` counts those with a redeemed coupon. ``against`` is None for a slice without any.
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
    rankings = {
        name: group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, score)
        for name, score in scores.items()
    }
    table = {
        name: group_metrics.all_metrics(ranking, frame.coupon_id)
        for name, ranking in rankings.items()
    }
    primary = {
        name: group_metrics.ndcg(ranking, PRIMARY_CUTOFF) for name, ranking in rankings.items()
    }
    best = max(rules, key=lambda name: table[name][PRIMARY])
    users = frame.user_id[groups(frame)]
    against = {
        other: compare(other, primary[RANKER], primary[other], users, seed)
        for other in (best, *((CHAMPION,) if champion is not None else ()))
    }
    logger.info(
        "%s: ranker %.4f, %s %.4f",
        PRIMARY,
        against[best].ranker_value,
        best,
        against[best].other_value,
    )
    return Evaluation(table, against[best], against.get(CHAMPION))


def compare(
    other: str, ours: np.ndarray, theirs: np.ndarray, users: np.ndarray, seed: int
) -> Comparison:
    """Compares two models by one value for each group; groups without a value (NaN) do not count.

    ``users`` has the user of each group. Raises ValueError if no group has a value.
    """
    has_value = ~np.isnan(ours)
    if not has_value.any():
        raise ValueError(
            f"Expected a redeemed coupon in some test group, got none in {len(ours)} groups: "
            "test on a longer period."
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
    rankings = {
        name: group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, score)
        for name, score in scores.items()
    }
    primary = {
        name: group_metrics.ndcg(ranking, PRIMARY_CUTOFF) for name, ranking in rankings.items()
    }
    users = frame.user_id[groups(frame)]
    entries = [
        LeaderboardEntry(
            name,
            group_metrics.all_metrics(ranking, frame.coupon_id),
            None if name == RANKER else compare(name, primary[RANKER], primary[name], users, seed),
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


def predictions_table(frame: RankingFrame, scores: Mapping[str, np.ndarray]) -> "pa.Table":
    """Builds a table with one row for each model and pair.

    Columns: ``qid, user_id, campaign_id, coupon_id, model, score, label``. All metrics can be
    computed from it again.
    """
    import pyarrow as pa

    ids = ("qid", "user_id", "campaign_id", "coupon_id")
    of_pairs = pa.table(
        {name: pa.array(getattr(frame, name), pa.string()) for name in ids}
        | {"label": pa.array(frame.label.astype(np.int64))}
    )
    models = [
        of_pairs.append_column("model", pa.array([name] * len(frame), pa.string())).append_column(
            "score", pa.array(np.asarray(score, np.float64))
        )
        for name, score in scores.items()
    ]
    return pa.concat_tables(models).select([*ids, "model", "score", "label"])


def scores_of(table: "pa.Table", frame: RankingFrame) -> dict[str, np.ndarray]:
    """Reads the scores by model from a ``predictions_table``.

    A model that was scored on other pairs than those of ``frame`` is left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pairs = [pa.chunked_array([pa.array(ids, pa.string())]) for ids in (frame.qid, frame.coupon_id)]
    found = {}
    for model in table["model"].unique().to_pylist():
        own = table.filter(pc.equal(table["model"], model))
        if [own["qid"], own["coupon_id"]] == pairs:
            found[model] = own["score"].to_numpy()
    return found
