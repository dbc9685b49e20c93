"""Detects an online store that lost its data."""

import logging
from collections.abc import Callable, Mapping, Sequence

from serving.candidates.index import CandidateIndex

log = logging.getLogger(__name__)


class Presence:
    """Says whether the online store lost what was materialized.

    A Redis that keeps nothing on disk comes back empty, and then it knows nobody. ``coupons`` reads
    coupons as ``FeastOnline.coupons``; ``index`` gives those that were there, if any were.
    """

    def __init__(
        self,
        coupons: Callable[[Sequence[str]], Mapping[str, Sequence]],
        index: Callable[[], CandidateIndex | None],
    ) -> None:
        self._coupons = coupons
        self._index = index
        self.is_lost = False

    def look(self) -> None:
        """Ask for a coupon that was there. Raises what the store's client raises."""
        index = self._index()
        if index is None or not len(index):
            return
        found = self._coupons([index.coupon_id[0]])
        was_lost, self.is_lost = self.is_lost, found["valid_to_timestamp"][0] is None
        if self.is_lost and not was_lost:
            log.warning("the online store lost what was materialized")
