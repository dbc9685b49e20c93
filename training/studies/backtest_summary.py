"""The summary of a backtest: metrics, comparisons, slices, retraining and probabilities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from feature_repo.instants import from_microseconds
from training.data.frame import column, groups
from training.evaluation import group_metrics
from training.evaluation.breadth import breadth
from training.evaluation.compare import (
    LATER,
    PRIMARY,
    PRIMARY_CUTOFF,
    RANKER,
    Comparison,
    SliceComparison,
    compare,
    leaderboard,
)
from training.evaluation.list_metrics import Catalog, list_metrics
from training.evaluation.orders import rows_with_order, without_order
from training.evaluation.pair_metrics import pair_metrics
from training.evaluation.slices import BROAD, repeat_gains, slices
from training.evaluation.visits import visit_quality
from training.studies.backtest import MONTHLY, WEEK_LATE
from training.studies.backtest_scores import (
    BacktestScores,
    LaterScores,
    RollingScores,
    Visits,
)
from training.studies.ceiling import ceiling

LEAST_GROUPS = 20
"""A slice with fewer groups with an order gets a count and no comparison."""

LEAST_BROAD = 30
"""A month or campaign with fewer groups with an order does not count as above or below a rule."""

COLD_METRICS = (PRIMARY, "hit_rate@1", "hit_rate@3", "recall@10", "mrr")
"""The metrics of the row of the start of a campaign."""


def summarize(
    scored: BacktestScores,
    campaign_types: Mapping[str, str],
    catalog: Catalog,
    rules: Sequence[str],
    seed: int,
    campaign_starts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Returns the comparisons of a backtest as plain data for JSON.

    ``rules`` has the names of the plain rules among the models; the best one is the opponent of the
    slices. ``campaign_types`` and ``campaign_starts`` are those of ``slices``. ``seed`` drives the
    bootstrap.
    """
    found = compare_models(scored, catalog, rules, seed)
    best = found["best_rule"]
    sliced = compare_slices(scored, best, campaign_types, seed, campaign_starts)
    return found | {
        "left_out": dict(scored.left_out),
        "folds": _folds(scored),
        "slices": sliced,
        "breadth": _breadth(best, sliced),
    }


def summarize_visits(
    found: RollingScores,
    campaign_types: Mapping[str, str],
    catalog: Catalog,
    rules: Sequence[str],
    seed: int,
    campaign_starts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Returns the whole summary of one ranker's backtest over visits, as plain data for JSON.

    The arguments are those of ``summarize``. Coverage counts the visits with an order only, because
    the scores of the others are not kept.
    """
    summary = summarize(found.ordered, campaign_types, catalog, rules, seed, campaign_starts)
    without = found.visits.without_order
    for name, values in found.later.values.items():
        summary["models"][name][LATER] = group_metrics.mean(values)
    summary["groups"] = {"all": without.groups, "redeemed": without.with_order}
    return summary | {
        "ranker": found.ranker,
        "without_order": asdict(without),
        "later": _later(found.later, summary["best_rule"], seed),
        "retraining": {
            name: summary["ranker_against"][name]
            for name in (MONTHLY, WEEK_LATE)
            if name in summary["ranker_against"]
        },
        "visits": visits_summary(found.visits),
        "cold_start": found.exposures and cold_start(found.exposures, rules, seed),
    }


def cold_start(exposures: BacktestScores, rules: Sequence[str], seed: int) -> dict[str, Any] | None:
    """Returns the row of the start of a campaign: every model's metrics on its exposures.

    Here a coupon counts as redeemed at any time while it is valid. None if no exposure has an
    order.
    """
    frame, scores = exposures.frame, exposures.scores
    if not rows_with_order(frame.qid, frame.label).any():
        return None
    entries = leaderboard(frame, scores, seed)
    return {
        "without_order": asdict(without_order(frame.qid, frame.label)),
        "best_rule": next(one.model for one in entries if one.model in rules),
        "models": {
            one.model: {name: one.metrics[name] for name in COLD_METRICS} for one in entries
        },
        "ranker_against": {one.model: asdict(one.against) for one in entries if one.against},
    }


def visits_summary(visits: Visits) -> dict[str, Any]:
    """Returns the quality of the list probability, and expected beside actual redemptions."""
    known = ~np.isnan(visits.expected)
    weight = visits.weight[known].astype(np.float64)
    return asdict(visit_quality(visits.probability, visits.redeemed, visits.weight)) | {
        "expected_redemptions": float((weight * visits.expected[known]).sum()),
        "redemptions": float((weight * visits.redeemed[known]).sum()),
    }


def json_ready(value: object) -> object:
    """Replaces NaN with None, because JSON has no NaN: a metric without a value is null.

    >>> json_ready({"auc": float("nan"), "folds": (1, 2)})
    {'auc': None, 'folds': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {name: json_ready(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def compare_models(
    scored: BacktestScores, catalog: Catalog, rules: Sequence[str], seed: int
) -> dict[str, Any]:
    """Computes every metric of every model, and compares the ranker with each other model."""
    frame, starts = scored.frame, groups(scored.frame)
    rankings = {name: _ranked(scored, name, frame.label) for name in scored.scores}
    primary = {name: group_metrics.ndcg(one, PRIMARY_CUTOFF) for name, one in rankings.items()}
    buyers = np.nan_to_num(column(frame, "covered_buyer_count_all"))
    users = frame.user_id[starts]
    return {
        "groups": {"all": len(starts), "redeemed": int((~np.isnan(primary[RANKER])).sum())},
        "models": {
            name: group_metrics.all_metrics(one, frame.coupon_id)
            | list_metrics(one, frame.coupon_id, buyers, catalog, group_metrics.CUTOFFS)
            | pair_metrics(frame.label, scored.scores[name])
            for name, one in rankings.items()
        },
        "ceiling": asdict(
            ceiling(
                frame.qid,
                frame.coupon_id,
                frame.label,
                scored.scores[RANKER],
                PRIMARY_CUTOFF,
                seed,
            )
        ),
        "best_rule": max(rules, key=lambda name: group_metrics.mean(primary[name])),
        "ranker_against": {
            name: asdict(compare(name, primary[RANKER], values, users, seed))
            for name, values in primary.items()
            if name != RANKER
        },
    }


def _ranked(scored: BacktestScores, name: str, label: np.ndarray) -> group_metrics.Ranked:
    frame = scored.frame
    return group_metrics.ranked(frame.qid, frame.coupon_id, label, scored.scores[name])


def _later(later: LaterScores, other: str, seed: int) -> dict[str, Any] | None:
    """Compares the ranker with the same rule on redemptions at the visit or later."""
    if not len(later.user_id):
        return None
    values = later.values
    return asdict(compare(other, values[RANKER], values[other], later.user_id, seed))


def _breadth(other: str, sliced: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Counts the months and campaigns with enough groups that are above ``other``."""
    parts = [
        SliceComparison(
            slicing, part, one["groups"], Comparison(**one) if "difference" in one else None
        )
        for slicing in BROAD
        for part, one in sliced[slicing].items()
    ]
    found = breadth(other, parts, LEAST_BROAD)
    return asdict(found) | {"largest": [*found.largest], "sentences": found.sentences}


def _folds(scored: BacktestScores) -> list[dict[str, Any]]:
    starts, primary = groups(scored.frame), _primary(scored)
    fold, campaigns = scored.fold[starts], scored.frame.campaign_id[starts]
    out = []
    for start in np.unique(fold):
        here = fold == start
        out.append(
            {
                "start": from_microseconds(start).isoformat(),
                "campaigns": sorted(set(campaigns[here])),
                "groups": int(here.sum()),
                "redeemed": int((~np.isnan(primary[RANKER][here])).sum()),
                "ndcg@10": {
                    name: group_metrics.mean(values[here]) for name, values in primary.items()
                },
            }
        )
    return out


def compare_slices(
    scored: BacktestScores,
    other: str,
    campaign_types: Mapping[str, str],
    seed: int,
    campaign_starts: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """Compares the ranker with another model on every slice, by slicing and part.

    The slicing ``coupon`` counts only redeemed coupons for products that the user had bought
    before, or had never bought.
    """
    users = scored.frame.user_id[groups(scored.frame)]
    ranker, theirs = (_ndcg(scored, name, scored.frame.label) for name in (RANKER, other))
    found = {
        slicing: {
            str(part): _comparison(other, ranker[here], theirs[here], users[here], seed)
            for part in sorted(set(values))
            for here in [values == part]
        }
        for slicing, values in slices(scored.frame, campaign_types, campaign_starts).items()
    }
    found["coupon"] = {
        kind: _comparison(
            other, _ndcg(scored, RANKER, label), _ndcg(scored, other, label), users, seed
        )
        for kind, label in repeat_gains(scored.frame).items()
    }
    return found


def _primary(scored: BacktestScores) -> dict[str, np.ndarray]:
    return {name: _ndcg(scored, name, scored.frame.label) for name in scored.scores}


def _ndcg(scored: BacktestScores, name: str, label: np.ndarray) -> np.ndarray:
    return group_metrics.ndcg(_ranked(scored, name, label), PRIMARY_CUTOFF)


def _comparison(
    other: str, ours: np.ndarray, theirs: np.ndarray, users: np.ndarray, seed: int
) -> dict[str, Any]:
    counted = int((~np.isnan(ours)).sum())
    if counted < LEAST_GROUPS:
        return {"groups": counted}
    return asdict(compare(other, ours, theirs, users, seed))
