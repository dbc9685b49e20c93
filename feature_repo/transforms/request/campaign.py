"""Inputs from the campaign so far: what other users did with a coupon, and what the user did.

The stored counts are of all users. The user's own share is subtracted, so that the inputs describe
others alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from feature_repo.transforms.arithmetic import numbers
from feature_repo.transforms.request.scope import Scope, hits_of_ids

PERCOV_PSEUDO_BASKETS = 5.0
"""Covered baskets at the campaign's mean rate that are added to those of a coupon."""

PRIOR_REDEMPTIONS, PRIOR_BASKETS = 1.0, 200.0
"""Added to the redemptions and covered baskets of a campaign, so that its mean rate is not 0."""

STORED = (
    "coupon_redemption_count_all",
    "coupon_redemption_count_7d",
    "covered_basket_count",
    "campaign_redemption_count_all",
    "campaign_covered_basket_count",
)
"""The stored numbers of a coupon that ``campaign_inputs`` reads, in order."""

INPUTS = (
    "others_redemption_count_all",
    "others_redemption_count_7d",
    "others_covered_basket_count",
    "percov",
    "campaign_redemption_rate",
    "own_covered_basket_count",
    "own_campaign_redemption_count",
)
"""The inputs that ``campaign_inputs`` computes, in order."""

_OTHERS = "over the users other than this one"

DERIVED: Mapping[str, str] = {
    "others_redemption_count_all": f"coupon_redemption_count_all, {_OTHERS}.",
    "others_redemption_count_7d": f"coupon_redemption_count_7d, {_OTHERS}.",
    "others_covered_basket_count": f"covered_basket_count, {_OTHERS}.",
    "percov": "(others_redemption_count_all + 5 * campaign_redemption_rate) / "
    "(others_covered_basket_count + 5): the redemptions of a covered basket of others.",
    "campaign_redemption_rate": "(campaign_redemption_count_all + 1) / "
    "(campaign_covered_basket_count + 200).",
    "own_covered_basket_count": "The user's own part of covered_basket_count, from "
    "basket_coupon_counts; 0 after the coupon has ended.",
    "own_campaign_redemption_count": "Number of the user's redemptions in the coupon's campaign, "
    "from redeemed_campaign_counts.",
}
"""The definition of each input."""


def stored_counts(columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """Stacks the ``STORED`` numbers of coupons: float64 of shape ``(n, len(STORED))``; null is 0.

    Raises KeyError if a column is missing.
    """
    return np.nan_to_num(np.stack([numbers(columns[name]) for name in STORED], axis=1))


def campaign_inputs(
    users: Mapping[str, Sequence[Any]],
    counts: np.ndarray,
    coupons: Scope,
    campaigns: Scope,
    candidates: np.ndarray,
) -> np.ndarray:
    """Computes ``INPUTS`` for each user and candidate: float32 of shape ``(u, c, len(INPUTS))``.

    ``counts`` are the ``stored_counts`` of all coupons. ``coupons`` has the id of each coupon,
    ``campaigns`` the id of its campaign. ``candidates`` are rows of both.
    """

    def own(ids: str, values: str, scope: Scope) -> np.ndarray:
        return _own(users[ids], users[values], scope, candidates)

    redeemed, redeemed_7d, baskets, of_campaign, campaign_baskets = counts[candidates].T
    own_baskets = own("basket_coupon_ids", "basket_coupon_counts", coupons)
    others = redeemed - own("redeemed_coupon_ids", "redeemed_coupon_counts", coupons)
    others_7d = redeemed_7d - own("redeemed_coupon_ids", "redeemed_coupon_counts_7d", coupons)
    # The user's row can be newer than the coupon's by a materialization: never below zero.
    others, others_7d, trials = (
        np.maximum(one, 0.0) for one in (others, others_7d, baskets - own_baskets)
    )
    rate = (of_campaign + PRIOR_REDEMPTIONS) / (campaign_baskets + PRIOR_BASKETS)
    percov = (others + PERCOV_PSEUDO_BASKETS * rate) / (trials + PERCOV_PSEUDO_BASKETS)
    used = own("redeemed_campaign_ids", "redeemed_campaign_counts", campaigns)
    rates = np.broadcast_to(rate, percov.shape)
    columns = (others, others_7d, trials, percov, rates, own_baskets, used)
    return np.stack(columns, axis=-1).astype(np.float32)


def _own(
    ids: Sequence[Sequence[str] | None],
    values: Sequence[Sequence[float] | None],
    scope: Scope,
    candidates: np.ndarray,
) -> np.ndarray:
    """Sums the values of each user's ids for the candidates with that id: ``(u, c)``."""
    sizes = [0 if one is None else len(one) for one in ids]
    if not any(sizes):
        return np.zeros((len(sizes), len(candidates)))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    names = [name for one in ids if one is not None for name in one]
    amounts = np.concatenate([one for one in values if one is not None], dtype=np.float64)
    hits = hits_of_ids(scope, candidates, owner, names)
    return hits.total(amounts, (len(sizes), len(candidates)))
