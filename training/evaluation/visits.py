"""Quality of the list probability: does it find the visits at which anything is redeemed?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOP_SHARE = 0.1
"""Share of the visits, those with the highest probability, in which redemptions are counted."""

BINS = 10


@dataclass(frozen=True)
class VisitBin:
    """Visits of similar probability: their mean probability and the share with a redemption."""

    probability: float
    observed: float
    visits: int


@dataclass(frozen=True)
class VisitQuality:
    """The list probability against the redemptions of ``visits`` visits.

    ``base_rate`` is the share of the visits with a redemption, which is the average precision of
    chance. ``top_share`` is the share of all redemptions in the ``TOP_SHARE`` of the visits with
    the highest probability. ``average_precision`` and ``top_share`` are NaN if all visits are
    alike. ``without_probability`` counts visits before the first calibration, which are left out.
    """

    visits: int
    without_probability: int
    base_rate: float
    mean_probability: float
    average_precision: float
    top_share: float
    bins: Sequence[VisitBin]


def visit_quality(
    probability: np.ndarray,
    redeemed: np.ndarray,
    weight: np.ndarray | None = None,
    bins: int = BINS,
) -> VisitQuality:
    """Compares the list probability with the number of redeemed coupons of each visit.

    Arrays have one value for each visit. A ``probability`` of NaN is unknown. ``weight`` is by
    default 1; a visit that stands for several has their number.
    """
    known = ~np.isnan(probability)
    p, count = np.asarray(probability, np.float64)[known], np.asarray(redeemed)[known]
    weights = np.ones(len(p)) if weight is None else np.asarray(weight, np.float64)[known]
    if len(p) == 0:
        nothing = float("nan")
        return VisitQuality(0, int((~known).sum()), nothing, nothing, nothing, nothing, ())
    anything = count > 0
    return VisitQuality(
        len(p),
        int((~known).sum()),
        float(np.average(anything, weights=weights)),
        float(np.average(p, weights=weights)),
        _average_precision(anything, p, weights),
        _share_at_top(p, count, weights),
        _bins(p, anything, weights, bins),
    )


def _average_precision(anything: np.ndarray, p: np.ndarray, weights: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    if anything.all() or not anything.any():
        return float("nan")
    return float(average_precision_score(anything, p, sample_weight=weights))


def _share_at_top(p: np.ndarray, count: np.ndarray, weights: np.ndarray) -> float:
    """Visits of equal probability are counted in part, so their order does not matter."""
    if not count.any():
        return float("nan")
    _, place = np.unique(-p, return_inverse=True)
    visits = np.cumsum(np.bincount(place, weights))
    redemptions = np.cumsum(np.bincount(place, weights * count))
    top = np.interp(TOP_SHARE * visits[-1], [0.0, *visits], [0.0, *redemptions])
    return float(top / redemptions[-1])


def _bins(
    p: np.ndarray, anything: np.ndarray, weights: np.ndarray, bins: int
) -> tuple[VisitBin, ...]:
    """Splits the visits by probability into bins of about equal weight, lowest first."""
    order = np.argsort(p, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    number = np.minimum((bins * middle / weights.sum()).astype(int), bins - 1)
    parts = [order[number == one] for one in range(bins)]
    return tuple(
        VisitBin(
            float(np.average(p[part], weights=weights[part])),
            float(np.average(anything[part], weights=weights[part])),
            len(part),
        )
        for part in parts
        if len(part)
    )
