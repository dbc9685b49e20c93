"""Detects an online store that lost its data."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.candidates.index import CandidateIndex

log = logging.getLogger(__name__)


class Presence:
    """Detects an online store that was emptied, such as a Redis without persistence that restarted.

    An emptied store returns no error but None for every feature, as for an unknown user.
    ``coupons`` reads coupons as ``FeastOnline.coupons`` does; ``index`` returns the candidate
    index, None before the first. ``is_lost`` is the result of the last check.
    """

    def __init__(
        self,
        coupons: Callable[[Sequence[str]], Mapping[str, Sequence[Any]]],
        index: Callable[[], CandidateIndex | None],
    ) -> None:
        self._coupons = coupons
        self._index = index
        self.is_lost = False

    def check(self) -> None:
        """Reads a coupon of the index. Raises the errors of the store's client."""
        index = self._index()
        if index is None or index.stored_coupon is None:
            return
        found = self._coupons([index.stored_coupon])
        was_lost, self.is_lost = self.is_lost, found["valid_to_timestamp"][0] is None
        if self.is_lost and not was_lost:
            log.warning("the online store lost what was materialized")
