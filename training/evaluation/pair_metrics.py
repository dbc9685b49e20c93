"""Metrics over all pairs, also of groups without a redemption: AUC, precision, calibration."""

from collections.abc import Callable

import numpy as np

BINS = 10


def pair_metrics(label: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Returns ``auc`` (area under the ROC curve) and ``average_precision`` over all pairs.

    Both are NaN if all labels are equal.

    >>> pair_metrics(np.array([0, 1, 1]), np.array([0.1, 0.7, 0.2]))
    {'auc': 1.0, 'average_precision': 1.0}
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if len(np.unique(label)) < 2:
        return {"auc": float("nan"), "average_precision": float("nan")}
    return {
        "auc": float(roc_auc_score(label, score)),
        "average_precision": float(average_precision_score(label, score)),
    }


def forward_calibrated(
    fold: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    settled: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """Converts scores to probabilities of redemption by a logistic curve through earlier folds.

    A fold is calibrated on the test pairs of all folds before it (Platt 1999). Probabilities are
    NaN while the earlier folds do not have both labels. ``fold`` has the start of each pair's fold.
    ``settled`` returns a mask of the outcomes known at a start; by default all of earlier folds.
    """
    from sklearn.linear_model import LogisticRegression

    probability = np.full(len(score), np.nan)
    column = np.asarray(score, dtype=np.float64)[:, None]
    for start in np.unique(fold):
        before, now = fold < start, fold == start
        if settled is not None:
            before &= settled(start)
        if len(np.unique(label[before])) == 2:
            curve = LogisticRegression(C=1e6, max_iter=1000).fit(column[before], label[before])
            probability[now] = curve.predict_proba(column[now])[:, 1]
    return probability


def cross_calibrated(
    user_id: np.ndarray, label: np.ndarray, score: np.ndarray, seed: int
) -> np.ndarray:
    """Converts scores to probabilities of redemption: each half of the users from the other half.

    The halves are random. Probabilities are NaN if the other half does not have both labels.
    """
    users, owner = np.unique(user_id.astype(str), return_inverse=True)
    half = (np.random.default_rng(seed).permutation(len(users)) % 2)[owner]
    probability = np.full(len(score), np.nan)
    for side in (0, 1):
        own = half == side
        probability[own] = forward_calibrated(own, label, score)[own]
    return probability


def calibration_bins(
    label: np.ndarray, probability: np.ndarray, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Returns (mean probability, share redeemed, number of pairs) for bins of equal size.

    Pairs without a probability (NaN) do not count.

    >>> calibration_bins(np.array([0, 1]), np.array([0.1, 0.5]), bins=2)
    [(0.1, 0.0, 1), (0.5, 1.0, 1)]
    """
    known = ~np.isnan(probability)
    order = np.argsort(probability[known], kind="stable")
    parts = np.array_split(order, bins)
    pairs = [(probability[known][part], label[known][part]) for part in parts if len(part)]
    return [(float(p.mean()), float((y > 0).mean()), len(p)) for p, y in pairs]
