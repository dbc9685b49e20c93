"""The fit of a calibration: from scores to probabilities of redemption at this visit."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.names import CALIBRATION_ATTRIBUTE
from serving.policy.probability import Calibration, list_log_odds, user_features
from training.data.frame import RankingFrame, group_sizes, groups, take
from training.data.split import settled_before
from training.models.ranker import Progress, RankerConfig, RankerError, fit, predict

if TYPE_CHECKING:
    from xgboost import Booster

log = logging.getLogger(__name__)

_STEPS = 100
_CLOSE = 1e-10


class CalibrationError(ValueError):
    """The calibration cannot be fitted; the message names the data that are missing."""


def settled_visits(frame: RankingFrame, cutoff: int) -> np.ndarray:
    """Returns a mask of the pairs whose whole visit was final and known before ``cutoff``.

    ``cutoff`` is in int64 microseconds and exclusive. A visit of which only the redeemed pairs are
    known would raise the probabilities.
    """
    starts = groups(frame)
    if len(starts) == 0:
        return np.zeros(0, bool)
    whole = np.logical_and.reduceat(settled_before(frame, cutoff), starts)
    return np.repeat(whole, group_sizes(starts, len(frame)))


USER_INPUTS = (
    "redemption_count_7d",
    "redemption_count_30d",
    "redemption_count_90d",
    "redemption_count_all",
    "coupon_purchase_count_90d",
    "basket_count_30d",
    "exposure_count_all",
)
"""The inputs of the user from which the probability of a list is formed, beside the scores."""

_SHRINKAGE = 1.0
"""Inverse strength of the penalty on the weights of the list's curve."""


def fit_calibration(
    frame: RankingFrame, scores: np.ndarray, user_inputs: Sequence[str] = USER_INPUTS
) -> Calibration:
    """Fits the curves on visits that the ranker has not learned from.

    ``scores`` has one value for each pair of ``frame``. Each visit counts with its weight, so that
    a sample of the visits without a redemption stands for all of them. Raises CalibrationError
    unless there are both visits with a redemption and visits without one.
    """
    from sklearn.linear_model import LogisticRegression

    starts = groups(frame)
    redeemed, weight = _any_redeemed(frame, starts), frame.weight[starts]
    if len(np.unique(redeemed)) < 2:
        raise CalibrationError(
            "Expected visits with and without a redemption to calibrate on, got "
            f"{int(redeemed.sum())} with one of {len(starts)}: use a longer window, and keep "
            "visits without a redemption."
        )
    slope, intercept = logistic_curve(scores, frame.label, frame.weight)
    odds = list_log_odds(slope * np.asarray(scores, np.float64) + intercept, starts)
    features = np.column_stack([odds, user_features(frame.inputs[starts], user_inputs)])
    curve = LogisticRegression(C=_SHRINKAGE, max_iter=5_000, tol=1e-8)
    curve.fit(features, redeemed, sample_weight=weight)
    first, *weights = curve.coef_[0].tolist()
    curves = Calibration(
        slope, intercept, first, float(curve.intercept_[0]), tuple(user_inputs), tuple(weights)
    )
    return _scaled(curves, frame, scores)


def _scaled(curves: Calibration, frame: RankingFrame, scores: np.ndarray) -> Calibration:
    """Sets the scale at which the coupons' probabilities sum to their redemptions."""
    from scipy.optimize import brentq

    starts, wanted = groups(frame), float(frame.weight @ (frame.label > 0))

    def excess(log_scale: float) -> float:
        tried = replace(curves, coupon_scale=float(np.exp(log_scale)))
        expected = tried.of_requests(scores, frame.inputs, starts)[0]
        return float(frame.weight @ expected) - wanted

    low, high = -_WIDEST, _WIDEST
    if excess(low) >= 0 or excess(high) <= 0:
        return curves
    return replace(curves, coupon_scale=float(np.exp(brentq(excess, low, high, xtol=1e-6))))


_WIDEST = 7.0
"""The largest logarithm of a scale that is searched."""


def fit_settled(frame: RankingFrame, scores: np.ndarray, cutoff: int) -> Calibration:
    """Fits the curves on the visits of ``frame`` that were settled before ``cutoff``.

    ``cutoff`` is in int64 microseconds and exclusive. Raises CalibrationError.
    """
    rows = settled_visits(frame, cutoff)
    return fit_calibration(take(frame, rows), scores[rows])


def fit_with_probabilities(
    train: RankingFrame,
    valid: RankingFrame,
    config: RankerConfig,
    progress: Progress | None = None,
) -> "Booster":
    """Fits a ranker on both parts, and stores the calibration of its scores in the model file.

    The calibration must come from visits that a ranker has not learned from. So it is fitted on
    ``valid``, scored by a ranker with the same settings that learned from ``train`` alone. If that
    is not possible, the model has no calibration. Raises RankerError as ``fit`` does.
    """
    model = fit([train, valid], config, progress)
    try:
        earlier = fit([train], config)
        curves = fit_calibration(valid, predict(earlier, valid.inputs, config.ranker))
    except (RankerError, CalibrationError) as error:
        log.warning("%s has no probabilities: %s", config.ranker, error)
        return model
    model.set_attr(**{CALIBRATION_ATTRIBUTE: curves.to_json()})
    return model


def _any_redeemed(frame: RankingFrame, starts: np.ndarray) -> np.ndarray:
    if len(starts) == 0:
        return np.zeros(0, np.int64)
    return np.maximum.reduceat(frame.label > 0, starts).astype(np.int64)


def logistic_curve(
    values: np.ndarray, label: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """Returns slope and intercept of the curve 1 / (1 + exp(-(slope x value + intercept))).

    They maximize the weighted likelihood of smoothed labels (Platt 1999, Lin, Lin and Weng 2007).
    With smoothed labels the curve exists also if the values separate the labels. The maximum is
    found by Newton's method with halved steps.
    """
    x, weights = np.asarray(values, np.float64), np.asarray(weight, np.float64)
    center, scale = np.average(x, weights=weights), x.std() or 1.0
    x, y = (x - center) / scale, _smoothed(np.asarray(label) > 0, weights)
    design = np.stack([x, np.ones_like(x)], axis=1)
    rate = np.average(y, weights=weights)
    found = np.array([0.0, np.log(rate / (1 - rate))])
    for _ in range(_STEPS):
        step = _newton_step(design, y, weights, found)
        found = _improved(design, y, weights, found, step)
        if np.abs(step).max() < _CLOSE:
            break
    slope = float(found[0] / scale)
    return slope, float(found[1] - slope * center)


def _smoothed(positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns (n + 1) / (n + 2) of n positives, and 1 / (n + 2) of n negatives."""
    count = weights[positive].sum(), weights[~positive].sum()
    return np.where(positive, (count[0] + 1) / (count[0] + 2), 1 / (count[1] + 2))


def _loss(design: np.ndarray, y: np.ndarray, weights: np.ndarray, found: np.ndarray) -> float:
    logits = design @ found
    return float((weights * (np.logaddexp(0.0, logits) - y * logits)).sum())


def _newton_step(
    design: np.ndarray, y: np.ndarray, weights: np.ndarray, found: np.ndarray
) -> np.ndarray:
    p = np.exp(-np.logaddexp(0.0, -(design @ found)))
    gradient = design.T @ (weights * (y - p))
    curvature = (design * (weights * p * (1 - p))[:, None]).T @ design
    # A slope without a unique best value, as of constant scores, stays 0.
    return np.linalg.lstsq(curvature, gradient, rcond=None)[0]


def _improved(
    design: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    found: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Halves the step until it does not raise the loss."""
    now = _loss(design, y, weights, found)
    for halvings in range(30):
        tried = found + step * 0.5**halvings
        if _loss(design, y, weights, tried) <= now:
            return tried
    return found
