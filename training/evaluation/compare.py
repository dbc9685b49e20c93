"""Compare models on the same groups: a table of metrics, and how sure a difference is."""

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


@dataclass(frozen=True)
class Comparison:
    """The primary metric of the ranker and of another model on the same groups.

    ``difference`` is ranker minus other; ``low`` and ``high`` bound it with 95% confidence by
    paired bootstrap over users. ``groups`` counts the groups with a redeemed coupon.
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
    """Every model's metrics by name, and the ranker against the best plain rule and the champion.

    ``against_champion`` is None while there is no champion.
    """

    table: Mapping[str, Mapping[str, float]]
    against_rule: Comparison
    against_champion: Comparison | None


@dataclass(frozen=True)
class SliceComparison:
    """The ranker beside another model on one ``part`` of a ``slicing`` of the exposures.

    ``groups`` counts those with a redeemed coupon; ``against`` is None where there are none.
    """

    slicing: str
    part: str
    groups: int
    against: Comparison | None


@dataclass(frozen=True)
class Standing:
    """A model among all that were measured on the same groups: its metrics by name, and the ranker
    beside it; None for the ranker itself."""

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
    """Hold the ranker's scores against those of the plain rules and of the champion.

    Scores are one a pair of ``frame``. The plain rule to beat is the one that is best on these
    very groups, which favors the rules. ``seed`` drives the bootstrap alone.
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
    logger.info("%s of the ranker %.4f, %s %.4f", PRIMARY, *_values(against[best], best))
    return Evaluation(table, against[best], against.get(CHAMPION))


def compare(
    other: str, ours: np.ndarray, theirs: np.ndarray, users: np.ndarray, seed: int
) -> Comparison:
    """Compare two models by one value a group; groups without a value (NaN) do not count.

    ``users`` names the user of each group. Raises ValueError if no group has a value.
    """
    known = ~np.isnan(ours)
    if not known.any():
        raise ValueError(
            f"Expected a redeemed coupon in some test group, got none in {len(ours)} groups: "
            "test on a longer period."
        )
    difference, users = ours[known] - theirs[known], users[known]
    low, high = bootstrap_interval(difference, users, seed)
    return Comparison(
        other,
        float(ours[known].mean()),
        float(theirs[known].mean()),
        float(difference.mean()),
        low,
        high,
        int(known.sum()),
        len(set(users)),
    )


def standings(
    frame: RankingFrame, scores: Mapping[str, np.ndarray], seed: int = 2017
) -> tuple[Standing, ...]:
    """All models by the primary metric, best first. ``scores`` has one a pair, RANKER's too."""
    rankings = {
        name: group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, score)
        for name, score in scores.items()
    }
    primary = {
        name: group_metrics.ndcg(ranking, PRIMARY_CUTOFF) for name, ranking in rankings.items()
    }
    users = frame.user_id[groups(frame)]
    found = [
        Standing(
            name,
            group_metrics.all_metrics(ranking, frame.coupon_id),
            None if name == RANKER else compare(name, primary[RANKER], primary[name], users, seed),
        )
        for name, ranking in rankings.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.metrics[PRIMARY]))


def compare_slices(
    frame: RankingFrame,
    ranker: np.ndarray,
    other: str,
    theirs: np.ndarray,
    slicings: Mapping[str, np.ndarray],
    seed: int = 2017,
) -> tuple[SliceComparison, ...]:
    """The ranker beside another model on every part of every slicing, none left out.

    ``ranker`` and ``theirs`` are scores, one a pair; ``slicings`` has the part of every group.
    """
    ours, theirs = (
        group_metrics.ndcg(
            group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, scores), PRIMARY_CUTOFF
        )
        for scores in (ranker, theirs)
    )
    users = frame.user_id[groups(frame)]
    return tuple(
        _slice(slicing, part, other, *(values[here] for values in (ours, theirs, users)), seed)
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
    """The 2.5th and 97.5th percentile of the mean of ``values`` when users are drawn anew.

    A user's groups are drawn together, since what one user does in several campaigns is not
    independent (percentile bootstrap over clusters, Efron and Tibshirani 1993, chapter 13).
    """
    codes = {user: code for code, user in enumerate(dict.fromkeys(users))}
    owner = np.fromiter((codes[user] for user in users), np.int64, len(users))
    total = np.bincount(owner, values)
    count = np.bincount(owner)
    draw = np.random.default_rng(seed).integers
    means = np.empty(repeats)
    for repeat in range(repeats):
        drawn = draw(0, len(codes), len(codes))
        means[repeat] = total[drawn].sum() / count[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def predictions_table(frame: RankingFrame, scores: Mapping[str, np.ndarray]) -> "pa.Table":
    """Every model's score of every pair: ``qid, user_id, campaign_id, coupon_id, model, score,
    label``, one row a model and pair, from which the metrics can be computed again."""
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
    """By model, the scores in a ``predictions_table`` of these very pairs; a model whose pairs
    are others is left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pairs = [pa.chunked_array([pa.array(ids, pa.string())]) for ids in (frame.qid, frame.coupon_id)]
    found = {}
    for model in table["model"].unique().to_pylist():
        own = table.filter(pc.equal(table["model"], model))
        if [own["qid"], own["coupon_id"]] == pairs:
            found[model] = own["score"].to_numpy()
    return found


def _values(comparison: Comparison, name: str) -> tuple[float, str, float]:
    return comparison.ranker_value, name, comparison.other_value
