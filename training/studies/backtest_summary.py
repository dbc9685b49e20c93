"""What a backtest says: every model on every metric, the ranker against each, slice by slice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

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
from training.studies.backtest import Scored, shown
from training.studies.ceiling import ceiling

LEAST_GROUPS = 20
"""A slice of fewer groups with a redemption is counted, not compared."""


def summarize(
    scored: Scored,
    campaign_types: Mapping[str, str],
    catalog: Catalog,
    rules: Sequence[str],
    seed: int,
) -> dict:
    """The backtest as plain data for JSON; ``rules`` names the plain rules among the models."""
    primary = {
        name: group_metrics.ndcg(_ranked(scored, name, scored.frame.label), PRIMARY_CUTOFF)
        for name in scored.scores
    }
    found = compared(scored, catalog, rules, seed)
    slicings = _slices(scored, primary, found["best_rule"], campaign_types, seed)
    return found | {
        "left_out": dict(scored.left_out),
        "folds": _folds(scored, primary),
        "slices": slicings | {"coupon": _repeats(scored, found["best_rule"], seed)},
        "calibration": _calibration(scored, seed),
        "calibration_ahead": _calibration_ahead(scored),
    }


def plain(value: object) -> object:
    """The same as JSON can say it, which knows no NaN: a metric that nothing has is null."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def compared(scored: Scored, catalog: Catalog, rules: Sequence[str], seed: int) -> dict:
    """Every model on every metric, and the ranker beside each other one."""
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


def _ranked(scored: Scored, name: str, label: np.ndarray) -> group_metrics.Ranked:
    frame = scored.frame
    return group_metrics.ranked(frame.qid, frame.coupon_id, label, scored.scores[name])


def _calibration(scored: Scored, seed: int) -> list[dict]:
    """How often pairs were redeemed beside the probability that the other half of the users gives
    the score; every pair has one."""
    frame, scores = scored.frame, scored.scores[RANKER]
    return _bins(frame.label, cross_calibrated(frame.user_id, frame.label, scores, seed))


def _calibration_ahead(scored: Scored) -> list[dict]:
    """The same by the probability that was known when the campaign started, where there was one.

    It comes from coupons of earlier folds that had ended by then: of one still open the redeemed
    pairs alone would be known.
    """
    frame = scored.frame

    def settled(start: int) -> np.ndarray:
        return (frame.open_until <= start) & settled_before(frame, start)

    scores = scored.scores[RANKER]
    return _bins(frame.label, forward_calibrated(scored.fold, frame.label, scores, settled))


def _bins(label: np.ndarray, probability: np.ndarray) -> list[dict]:
    names = ("probability", "redeemed", "pairs")
    return [dict(zip(names, one, strict=True)) for one in calibration_bins(label, probability)]


def _folds(scored: Scored, primary: Mapping[str, np.ndarray]) -> list[dict]:
    starts = groups(scored.frame)
    fold, campaigns = scored.fold[starts], scored.frame.campaign_id[starts]
    out = []
    for start in np.unique(fold):
        here = fold == start
        out.append(
            {
                "start": shown(start),
                "campaigns": sorted(set(campaigns[here])),
                "groups": int(here.sum()),
                "redeemed": int((~np.isnan(primary[RANKER][here])).sum()),
                "ndcg@10": {
                    name: group_metrics.mean(values[here]) for name, values in primary.items()
                },
            }
        )
    return out


def _slices(
    scored: Scored, primary: Mapping[str, np.ndarray], best: str, types: Mapping, seed: int
) -> dict[str, dict]:
    users = scored.frame.user_id[groups(scored.frame)]
    return {
        slicing: {
            str(part): _beside(best, primary[RANKER][of], primary[best][of], users[of], seed)
            for part in sorted(set(values))
            for of in [values == part]
        }
        for slicing, values in slices(scored.frame, types).items()
    }


def _repeats(scored: Scored, best: str, seed: int) -> dict[str, dict]:
    """Both models where only one kind of redeemed coupons is a gain."""
    users, found = scored.frame.user_id[groups(scored.frame)], {}
    for kind, label in repeat_gains(scored.frame).items():
        pair = (
            group_metrics.ndcg(_ranked(scored, one, label), PRIMARY_CUTOFF)
            for one in (RANKER, best)
        )
        found[kind] = _beside(best, *pair, users, seed)
    return found


def _beside(other: str, ours: np.ndarray, theirs: np.ndarray, users: np.ndarray, seed: int) -> dict:
    counted = int((~np.isnan(ours)).sum())
    if counted < LEAST_GROUPS:
        return {"groups": counted}
    return asdict(compare(other, ours, theirs, users, seed))
