"""What scores are worth over all pairs, redeemed or not, also of groups without a redemption."""

from collections.abc import Callable

import numpy as np

BINS = 10


def pair_metrics(label: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Area under the ROC curve and average precision of all pairs; NaN if all labels are alike."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if len(np.unique(label)) < 2:
        return {"auc": float("nan"), "average_precision": float("nan")}
    return {
        "auc": float(roc_auc_score(label, score)),
        "average_precision": float(average_precision_score(label, score)),
    }


def calibrated(
    fold: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    settled: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """Probabilities of redemption from scores, by a logistic curve through all earlier folds.

    A fold is calibrated on what was tested before it (Platt 1999), so the first one with pairs of
    both labels before it is the first with a probability; before it they are NaN. ``fold`` holds
    the start of each pair's fold; ``settled`` says which outcomes were known at a start, without it
    all of earlier folds are.
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
    """Probabilities of redemption from scores of one test: each half of the users by a logistic
    curve through the other half. NaN for a half whose other half has labels of one kind alone."""
    users, owner = np.unique(user_id.astype(str), return_inverse=True)
    half = (np.random.default_rng(seed).permutation(len(users)) % 2)[owner]
    probability = np.full(len(score), np.nan)
    for side in (0, 1):
        probability[half == side] = calibrated(half == side, label, score)[half == side]
    return probability


def calibration(
    label: np.ndarray, probability: np.ndarray, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Mean probability, share redeemed and number of pairs in bins of equal number of pairs.

    Pairs without a probability (NaN) do not count.
    """
    known = ~np.isnan(probability)
    order = np.argsort(probability[known], kind="stable")
    parts = np.array_split(order, bins)
    pairs = [(probability[known][part], label[known][part]) for part in parts if len(part)]
    return [(float(p.mean()), float((y > 0).mean()), len(p)) for p, y in pairs]
