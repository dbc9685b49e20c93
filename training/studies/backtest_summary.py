"""The summary of a backtest: metrics, comparisons, slices, folds and calibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from feature_repo.instants import from_microseconds
from training.data.frame import column, groups
from training.data.split import settled_before
from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF, RANKER, compare
from training.evaluation.list_metrics import Catalog, list_metrics
from training.evaluation.pair_metrics import (
    calibration_bins,
    cross_calibrated,
    forward_calibrated,
    pair_metrics,
)
from training.evaluation.slices import repeat_gains, slices
from training.studies.backtest_scores import BacktestScores
from training.studies.ceiling import ceiling

LEAST_GROUPS = 20
"""A slice with fewer redeemed groups gets a count and no comparison."""


def summarize(
    scored: BacktestScores,
    campaign_types: Mapping[str, str],
    catalog: Catalog,
    rules: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Returns the backtest as plain data for JSON.

    ``rules`` has the names of the plain rules among the models; the best one is the opponent of the
    slices. ``campaign_types`` maps campaigns to their type. ``seed`` drives the bootstrap.
    """
    found = compare_models(scored, catalog, rules, seed)
    return found | {
        "left_out": dict(scored.left_out),
        "folds": _folds(scored),
        "slices": compare_slices(scored, found["best_rule"], campaign_types, seed),
        "calibration": _calibration(scored, seed),
        "calibration_ahead": calibration_ahead(scored),
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


def _calibration(scored: BacktestScores, seed: int) -> list[dict[str, Any]]:
    """Calibrates each half of the users on the other half; every pair has a probability."""
    frame, scores = scored.frame, scored.scores[RANKER]
    return _bins(frame.label, cross_calibrated(frame.user_id, frame.label, scores, seed))


def calibration_ahead(scored: BacktestScores) -> list[dict[str, Any]]:
    """Calibrates each fold on earlier folds, with the outcomes known when the fold starts.

    Only coupons that had ended by then are used. Of a coupon still open, only the redeemed pairs
    would be known. Pairs without such a probability are left out.
    """
    frame = scored.frame

    def settled(start: int) -> np.ndarray:
        return (frame.open_until <= start) & settled_before(frame, start)

    scores = scored.scores[RANKER]
    return _bins(frame.label, forward_calibrated(scored.fold, frame.label, scores, settled))


def _bins(label: np.ndarray, probability: np.ndarray) -> list[dict[str, Any]]:
    names = ("probability", "redeemed", "pairs")
    return [dict(zip(names, one, strict=True)) for one in calibration_bins(label, probability)]


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
    scored: BacktestScores, other: str, campaign_types: Mapping[str, str], seed: int
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
        for slicing, values in slices(scored.frame, campaign_types).items()
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
