"""Brings redemptions into the ledger: those in the lake, and those that arrive over HTTP."""

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

_AT_ONCE = 1_000
"""RedemptionFeed in one transaction: what a request may have to wait for."""


@dataclass(frozen=True)
class RedemptionSeen:
    """A use of a coupon as a source says it: ``at`` in microseconds, ``amount`` if it is known."""

    redemption_id: str
    user_id: str
    coupon_id: str
    at: int
    amount: int | None


class RedemptionFeed:
    """Feeds the ledger with the redemptions of coupons that have a limit.

    ``lake_mark`` gives a mark of the lake's state, ``in_lake`` those of some ids and those of
    which any version names one of some coupons, each as its latest version says; ``in_inbox``
    those that came over HTTP so far. A redemption whose amount nobody knows counts with the most
    that the coupon can be worth, as far as that is stated.
    """

    def __init__(
        self,
        ledger: Ledger,
        index: Callable[[], CandidateIndex | None],
        lake_mark: Callable[[], Hashable],
        in_lake: Callable[[Collection[str], Collection[str]], Iterable[RedemptionSeen]],
        in_inbox: Callable[[], Iterable[RedemptionSeen]],
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._lake_mark = lake_mark
        self._in_lake = in_lake
        self._in_inbox = in_inbox
        self._fed: Hashable | None = None
        self._ledgers_identity: str | None = None

    def refresh(self) -> None:
        """Feed everything again if the lake or the coupons with a limit changed, or one was missed.

        Also if the ledger lost what it had. Raises StorageFailed.
        """
        index = self._index()
        coupons = frozenset() if index is None else tracked(index)
        if not coupons:
            return
        identity = self._ledger.identity()
        mark = (self._lake_mark(), coupons, identity)
        if mark == self._fed:
            return
        arrived = [one for one in self._in_inbox() if one.coupon_id in coupons]
        count = self._feed(index, arrived, corrects=False)
        # Also those that name another coupon by now: they no longer count for this one.
        in_lake = self._in_lake(coupons, [one.redemption_id for one in arrived])
        count += self._feed(index, in_lake, corrects=True)
        self._fed, self._ledgers_identity = mark, identity
        log.info("ledger: %d redemptions of %d coupons with limits", count, len(coupons))

    def take(self, used: Sequence[RedemptionSeen]) -> None:
        """Enter what has just arrived. What cannot be entered now comes with the next refresh."""
        index = self._index()
        try:
            if index is not None and self._is_fed():
                coupons = tracked(index)
                of_limited = (one for one in used if one.coupon_id in coupons)
                self._feed(index, of_limited, corrects=False)
                return
        except StorageFailed as error:
            log.warning("%s", error)
        self._fed = None

    def _is_fed(self) -> bool:
        """Whether the ledger still has what was fed, if anything was."""
        return self._ledgers_identity in (None, self._ledger.identity())

    def _feed(self, index: CandidateIndex, used: Iterable[RedemptionSeen], corrects: bool) -> int:
        count, rest = 0, (_redemption(index, one) for one in used)
        while part := list(islice(rest, _AT_ONCE)):
            self._ledger.redeem(part, corrects)
            count += len(part)
        return count


def tracked(index: CandidateIndex) -> frozenset[str]:
    """The coupons that have a limit which redemptions use up."""
    limits = [getattr(index.terms, name) for name in (*LEDGER_LIMITS, "per_user_limit")]
    return frozenset(index.coupon_id[np.min(limits, axis=0) < NO_LIMIT])


def _redemption(index: CandidateIndex, one: RedemptionSeen) -> Redemption:
    """What the ledger is told; of a coupon that nobody can be shown no campaign is known."""
    row = index.row_of.get(one.coupon_id)
    campaign, amount = "" if row is None else index.campaign_id[row], one.amount
    if amount is None:
        most = 0 if row is None else int(index.terms.discounts.max_per_use[row])
        amount = most if most < NO_LIMIT else 0
    return Redemption(one.redemption_id, one.user_id, one.coupon_id, campaign, one.at, amount)
