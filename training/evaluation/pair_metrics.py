"""Metrics over all pairs, also of groups without a redemption: AUC, precision, calibration."""

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


def calibration_bins(
    label: np.ndarray,
    probability: np.ndarray,
    bins: int = BINS,
    weight: np.ndarray | None = None,
) -> list[tuple[float, float, int]]:
    """Returns (mean probability, share redeemed, number of pairs) for bins of equal size.

    Pairs without a probability (NaN) do not count. The first two are weighted means; ``weight`` is
    by default 1.

    >>> calibration_bins(np.array([0, 1]), np.array([0.1, 0.5]), bins=2)
    [(0.1, 0.0, 1), (0.5, 1.0, 1)]
    """
    known = ~np.isnan(probability)
    order = np.argsort(probability[known], kind="stable")
    weights = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    columns = [one[known] for one in (probability, label > 0, weights)]
    found = []
    for part in np.array_split(order, bins):
        if len(part):
            p, y, w = (one[part] for one in columns)
            found.append(
                (float(np.average(p, weights=w)), float(np.average(y, weights=w)), len(part))
            )
    return found
