"""Parts of the exposures, on each of which a model is looked at apart."""

from collections.abc import Mapping

import numpy as np

from training.data.frame import RankingFrame, column, groups

COLD, HEAVY = 100, 500
"""Below so many known purchases a user is cold, from so many on heavy, in between light."""


def slices(frame: RankingFrame, campaign_types: Mapping[str, str]) -> dict[str, np.ndarray]:
    """By the name of each slicing, the slice of every group, as text.

    ``campaign_types`` maps campaigns to the retailer's class of them; unknown otherwise.
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
    known = np.where(values < limit, below, above)
    return np.where(np.isnan(values), "unknown", known).astype(object)


def repeat_gains(frame: RankingFrame) -> dict[str, np.ndarray]:
    """Labels that count only redeemed coupons for what the user had bought before, or never had.

    A group without such a coupon has no value in the metric that these are put into.
    """
    own = np.nan_to_num(column(frame, "own_purchase_count")) > 0
    return {"bought before": frame.label * own, "never bought": frame.label * ~own}
