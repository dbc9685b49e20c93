"""Feeds the ledger with redemptions: those in the lake, and those that arrive over HTTP."""

import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from serving.candidates.index import CandidateIndex
from serving.candidates.unstated import NO_LIMIT
from serving.errors import StorageFailed
from serving.ledger.ledger import Ledger, Redemption
from serving.rules.usage import LEDGER_LIMITS

log = logging.getLogger(__name__)

_BATCH = 1_000
"""Redemptions in one transaction, which a request may have to wait for."""


@dataclass(frozen=True)
class RedemptionSeen:
    """A redemption as a source states it: ``at`` in microseconds, ``amount`` None if unknown."""

    redemption_id: str
    user_id: str
    coupon_id: str
    at: int
    amount: int | None


class RedemptionFeed:
    """A feed of the redemptions of coupons with a limit into the ledger.

    ``lake_mark`` returns a value that changes with the lake. ``lake_redemptions`` takes coupons
    and redemption ids. It returns redemptions with these ids or coupons (in any version), in
    their current version. ``inbox_redemptions`` returns those that arrived over HTTP so far. A
    redemption of an unknown amount counts with the coupon's highest value, if that is stated.
    """

    def __init__(
        self,
        ledger: Ledger,
        index: Callable[[], CandidateIndex | None],
        lake_mark: Callable[[], Hashable],
        lake_redemptions: Callable[[Collection[str], Collection[str]], Iterable[RedemptionSeen]],
        inbox_redemptions: Callable[[], Iterable[RedemptionSeen]],
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._lake_mark = lake_mark
        self._lake_redemptions = lake_redemptions
        self._inbox_redemptions = inbox_redemptions
        self._fed: Hashable | None = None
        self._fed_identity: str | None = None

    def refresh(self) -> None:
        """Feeds all redemptions again after a change of the lake or of the coupons with a limit.

        Also feeds again if a redemption could not be entered, or if the ledger was emptied. Raises
        StorageFailed.
        """
        index = self._index()
        if index is None:
            return
        coupons = limited_coupons(index)
        if not coupons:
            return
        identity = self._ledger.identity()
        mark = (self._lake_mark(), coupons, identity)
        if mark == self._fed:
            return
        arrived = [one for one in self._inbox_redemptions() if one.coupon_id in coupons]
        count = self._feed(index, arrived, corrects=False)
        # Includes redemptions corrected to another coupon, which no longer count for these.
        in_lake = self._lake_redemptions(coupons, [one.redemption_id for one in arrived])
        count += self._feed(index, in_lake, corrects=True)
        self._fed, self._fed_identity = mark, identity
        log.info("ledger: %d redemptions of %d coupons with limits", count, len(coupons))

    def add(self, redemptions: Sequence[RedemptionSeen]) -> None:
        """Enters redemptions that have just arrived; on a failure, the next refresh does."""
        index = self._index()
        try:
            if index is not None and self._is_fed():
                coupons = limited_coupons(index)
                of_limited = (one for one in redemptions if one.coupon_id in coupons)
                self._feed(index, of_limited, corrects=False)
                return
        except StorageFailed as error:
            log.warning("%s", error)
        self._fed = None

    def _is_fed(self) -> bool:
        """True unless the ledger was emptied since the last feed."""
        return self._fed_identity in (None, self._ledger.identity())

    def _feed(
        self, index: CandidateIndex, redemptions: Iterable[RedemptionSeen], corrects: bool
    ) -> int:
        """Enters redemptions in batches and returns their number."""
        count, rest = 0, (_redemption(index, one) for one in redemptions)
        while part := list(islice(rest, _BATCH)):
            self._ledger.redeem(part, corrects)
            count += len(part)
        return count


def limited_coupons(index: CandidateIndex) -> frozenset[str]:
    """Returns the ids of the coupons with a limit that redemptions count against."""
    limits = [getattr(index.terms, name) for name in (*LEDGER_LIMITS, "per_user_limit")]
    return frozenset(index.coupon_id[np.min(limits, axis=0) < NO_LIMIT])


def _redemption(index: CandidateIndex, one: RedemptionSeen) -> Redemption:
    """Adds campaign and amount to a redemption; without a row in the index, "" and 0."""
    row = index.row_of.get(one.coupon_id)
    campaign, amount = "" if row is None else index.campaign_id[row], one.amount
    if amount is None:
        highest = 0 if row is None else int(index.terms.discounts.max_per_use[row])
        amount = highest if highest < NO_LIMIT else 0
    return Redemption(one.redemption_id, one.user_id, one.coupon_id, campaign, one.at, amount)
