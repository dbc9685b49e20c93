"""The record of one decision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SERVED, SHADOW = "served", "shadow"
"""The roles of a decision: what the user saw, and what the challenger would have shown."""


@dataclass(frozen=True)
class Decision:
    """One answered request. ``event_timestamp`` is the instant decided for, in microseconds UTC.

    ``candidate_ids`` are all coupons that were scored, ``coupon_ids`` the ``n`` shown ones, best
    first; ``features`` is float32 of shape ``(n, len(RANKER_INPUTS))``, ``scores`` and
    ``propensities`` have ``n`` values; ``removed`` is a JSON object of counts by rule, ``policy``
    one of what the propensities come from. ``role`` is ``served``, or ``shadow`` for what nobody
    saw; ``arm`` is the alias that the user is ranked by. ``online_watermark``, in microseconds,
    is up to when the features know.
    """

    request_id: str
    event_timestamp: int
    user_id: str
    placement: str
    candidate_ids: Sequence[str]
    coupon_ids: Sequence[str]
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
