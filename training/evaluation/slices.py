"""Slices: parts of the visits on which models are compared separately."""

from collections.abc import Mapping

import numpy as np

from feature_repo.instants import DAY
from training.data.frame import RankingFrame, column, group_sizes, groups

MONTH, CAMPAIGN, CAMPAIGN_AGE = "month", "campaign", "campaign age"
BROAD = (MONTH, CAMPAIGN)
"""The slicings in which an advantage must be broad: an interval by household cannot show it."""

COLD, HEAVY = 100, 500
"""A user with fewer purchases than ``COLD`` is cold, from ``HEAVY`` on heavy, else light."""

FIRST_MONTH_DAYS = 30
"""A campaign is in its first month for this number of days from its start."""


def slices(
    frame: RankingFrame,
    campaign_types: Mapping[str, str],
    campaign_starts: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Returns for each slicing the part of every group, as text.

    A month is that of ``as_of`` in UTC, as in ``2017-09``. The slicings by campaign use
    ``campaign_of_groups``. ``campaign_types`` maps campaigns to their type; a campaign without one
    is ``unknown``. ``campaign_starts`` maps campaigns to their start in int64 microseconds, by
    default the first ``as_of`` of one of their coupons in ``frame``.
    """
    starts = groups(frame)
    bought = np.nan_to_num(column(frame, "purchase_count_all")[starts])
    campaigns = campaign_of_groups(frame)
    types = [campaign_types.get(name) or "unknown" for name in campaigns]
    history = np.select([bought < COLD, bought < HEAVY], ["cold", "light"], "heavy")
    began = first_instants(frame) if campaign_starts is None else campaign_starts
    return {
        MONTH: months(frame.as_of[starts]),
        CAMPAIGN: campaigns,
        CAMPAIGN_AGE: _ages(frame.as_of[starts], campaigns, began),
        "campaign type": np.array(types, object),
        "history": history.astype(object),
        "age": _band(column(frame, "age_min")[starts], 45, "under 45", "45 and over"),
        "income": _band(
            column(frame, "income_min")[starts] / 100, 50_000, "under 50,000", "50,000 and over"
        ),
        "children": _band(column(frame, "kids_count")[starts], 1, "none", "some"),
    }


def campaign_of_groups(frame: RankingFrame) -> np.ndarray:
    """Returns for every group the campaign with most redeemed coupons, ties by id.

    So a group without a redeemed coupon has the first id among the campaigns of its candidates.
    """
    starts = groups(frame)
    owner = np.repeat(np.arange(len(starts)), group_sizes(starts, len(frame)))
    names, code = np.unique(frame.campaign_id.astype(str), return_inverse=True)
    pairs, pair = np.unique(np.stack([owner, code]), axis=1, return_inverse=True)
    redeemed = np.bincount(pair[frame.label > 0], minlength=pairs.shape[1])
    # Codes are in the order of ids. The first row of each group is its campaign.
    order = np.lexsort((pairs[1], -redeemed, pairs[0]))
    first = np.searchsorted(pairs[0][order], np.arange(len(starts)))
    return names[pairs[1][order][first]].astype(object)


def first_instants(frame: RankingFrame) -> dict[str, int]:
    """Returns the first ``as_of`` at which each campaign has a candidate."""
    names, code = np.unique(frame.campaign_id.astype(str), return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first, code, frame.as_of)
    return dict(zip(names.tolist(), first.tolist(), strict=True))


def months(instants: np.ndarray) -> np.ndarray:
    """Returns the calendar month of int64 microseconds in UTC, as text.

    >>> months(np.array([0, 31 * DAY])).tolist()
    ['1970-01', '1970-02']
    """
    return instants.astype("datetime64[us]").astype("datetime64[M]").astype(str).astype(object)


def _ages(
    instants: np.ndarray, campaigns: np.ndarray, campaign_starts: Mapping[str, int]
) -> np.ndarray:
    """Returns ``first month``, ``later``, or ``unknown`` for a campaign without a start."""
    known = np.array([name in campaign_starts for name in campaigns], bool)
    began = np.array([campaign_starts.get(name, 0) for name in campaigns], np.int64)
    age = np.where(instants < began + FIRST_MONTH_DAYS * DAY, "first month", "later")
    return np.where(known, age, "unknown").astype(object)


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
