"""Slices: parts of the exposures on which models are compared separately."""

from collections.abc import Mapping

import numpy as np

from training.data.frame import RankingFrame, column, groups

COLD, HEAVY = 100, 500
"""A user with fewer purchases than ``COLD`` is cold, from ``HEAVY`` on heavy, else light."""


def slices(frame: RankingFrame, campaign_types: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns for each slicing the part of every group, as text.

    ``campaign_types`` maps campaigns to their type; a campaign without one is ``unknown``.
    """
    starts = groups(frame)
    bought = np.nan_to_num(column(frame, "purchase_count_all")[starts])
    types = [campaign_types.get(name) or "unknown" for name in frame.campaign_id[starts]]
    history = np.select([bought < COLD, bought < HEAVY], ["cold", "light"], "heavy")
    return {
        "campaign type": np.array(types, object),
        "history": history.astype(object),
        "age": _band(column(frame, "age_min")[starts], 45, "under 45", "45 and over"),
        "income": _band(
            column(frame, "income_min")[starts] / 100, 50_000, "under 50,000", "50,000 and over"
        ),
        "children": _band(column(frame, "kids_count")[starts], 1, "none", "some"),
    }


def _band(values: np.ndarray, limit: float, below: str, above: str) -> np.ndarray:
    bands = np.where(values < limit, below, above)
    return np.where(np.isnan(values), "unknown", bands).astype(object)


def repeat_gains(frame: RankingFrame) -> dict[str, np.ndarray]:
    """Returns labels that count only some redemptions: by purchases of the covered products.

    ``bought before`` counts coupons for products that the user had bought, ``never bought`` the
    others. A group without such a redeemed coupon has no value in a metric with these labels.
    """
    own = np.nan_to_num(column(frame, "own_purchase_count")) > 0
    return {"bought before": frame.label * own, "never bought": frame.label * ~own}
