"""The record of one decision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SERVED, SHADOW = "served", "shadow"
"""The roles of a decision: shown to the user, or ranked by the challenger for the log only."""


@dataclass(frozen=True)
class Decision:
    """One answered request, with ``n`` shown coupons.

    ``event_timestamp`` is the instant of the decision, ``online_watermark`` the instant up to which
    the features are complete; both in microseconds since 1970-01-01 UTC. ``candidate_ids`` are all
    scored coupons, ``coupon_ids`` the shown ones, best first. ``features`` is float32 of shape
    ``(n, len(RANKER_INPUTS))``; ``scores`` and ``propensities`` have ``n`` values.

    ``removed`` is a JSON object of counts by rule. ``policy`` is a JSON object of the settings that
    the propensities result from. ``role`` is ``served`` or ``shadow``. ``arm`` is the alias of the
    ranker that the user is assigned to. The three lists of the cart have a value for each of its
    lines, as sent: the unit price is in minor units, and not rounded.
    """

    request_id: str
    event_timestamp: int
    user_id: str
    placement: str
    candidate_ids: Sequence[str] | np.ndarray
    coupon_ids: Sequence[str] | np.ndarray
    features: np.ndarray
    scores: np.ndarray
    propensities: np.ndarray
    model_name: str
    model_version: str
    feature_service: str
    removed: str
    cold_start: bool
    stale_features: Sequence[str]
    policy: str = "{}"
    role: str = SERVED
    arm: str = ""
    online_watermark: int | None = None
    cart_product_ids: Sequence[str] = ()
    cart_quantities: Sequence[float] = ()
    cart_unit_prices: Sequence[float] = ()
