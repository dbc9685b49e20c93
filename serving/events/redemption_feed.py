"""Feeds the ledger with redemptions: those in the lake, and those that arrive over HTTP."""

import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from feature_repo.contract import LARGEST
from serving.candidates.index import CandidateIndex
from serving.candidates.unstated import NO_LIMIT
from serving.errors import StorageFailed
from serving.ledger.ledger import Ledger, Redemption, holder_of
from serving.rules.settings import BUDGET, NOTHING, USE_AND_BUDGET
from serving.rules.usage import REDEMPTION_LIMITS

log = logging.getLogger(__name__)

_BATCH = 1_000
"""Redemptions in one transaction, which a request may have to wait for."""

_MOST_NAMED = 10
"""Most coupons that one line of the log names."""


@dataclass(frozen=True)
class RedemptionSeen:
    """A redemption as a source states it: ``at`` in microseconds, ``amount`` None if unknown.

    ``is_taken_back`` is true if its order was canceled. ``visitor_id`` separates visitors who
    share a user_id.
    """

    redemption_id: str
    user_id: str
    coupon_id: str
    at: int
    amount: int | None
    is_taken_back: bool = False
    visitor_id: str | None = None


class RedemptionFeed:
    """A feed of the redemptions of coupons with a limit into the ledger.

    ``lake_mark`` returns a value that changes with the lake. ``lake_redemptions`` takes coupons
    and redemption ids. It returns redemptions with these ids or coupons (in any version), in
    their current version. ``inbox_redemptions`` returns those that arrived over HTTP so far,
    ``inbox_taken_back`` the ids of those taken back over HTTP.

    A redemption of an unknown amount counts with the coupon's highest value. Without one, as for a
    percentage without a cap, it counts with the whole budget: it must not leave one open.
    ``returns`` states what a redemption that was taken back gives back: a value of ``RETURNS``.
    """

    def __init__(
        self,
        ledger: Ledger,
        index: Callable[[], CandidateIndex | None],
        lake_mark: Callable[[], Hashable],
        lake_redemptions: Callable[[Collection[str], Collection[str]], Iterable[RedemptionSeen]],
        inbox_redemptions: Callable[[], Iterable[RedemptionSeen]],
        inbox_taken_back: Callable[[], Iterable[str]] = tuple,
        returns: str = USE_AND_BUDGET,
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._lake_mark = lake_mark
        self._lake_redemptions = lake_redemptions
        self._inbox_redemptions = inbox_redemptions
        self._inbox_taken_back = inbox_taken_back
        self._returns = returns
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
        mark = (self._lake_mark(), coupons, index.since, identity)
        if mark == self._fed:
            return
        arrived = [one for one in self._inbox_redemptions() if one.coupon_id in coupons]
        count = self._feed(index, arrived, corrects=False)
        # Includes redemptions corrected to another coupon, which no longer count for these.
        in_lake = list(self._lake_redemptions(coupons, [one.redemption_id for one in arrived]))
        count += self._feed(index, in_lake, corrects=True)
        self._warn_of_unknown_costs(in_lake)
        # At last, as the lake may not know yet of what was taken back over HTTP.
        self._take_back(self._inbox_taken_back())
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

    def take_back(self, redemption_ids: Sequence[str]) -> None:
        """Takes back redemptions over HTTP; on a failure, the next refresh does."""
        try:
            self._take_back(redemption_ids)
        except StorageFailed as error:
            log.warning("%s", error)
            self._fed = None

    def needs_amount(self, coupon_id: str) -> bool:
        """True if only a redemption's amount can tell what it takes from the coupon's budget."""
        index = self._index()
        row = None if index is None else index.row_of.get(coupon_id)
        if index is None or row is None:
            return False
        return _open_budget(index, row) > 0

    def _warn_of_unknown_costs(self, redemptions: Iterable[RedemptionSeen]) -> None:
        """Names the coupons whose budget counts as spent, as a redemption lacks its amount."""
        lacking = (one for one in redemptions if one.amount is None and not one.is_taken_back)
        names = sorted({one.coupon_id for one in lacking if self.needs_amount(one.coupon_id)})
        if names:
            log.warning(
                "redemptions without discount_amount: the budget of %s counts as spent until "
                "their source states what they cost",
                ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else ""),
            )

    def _is_fed(self) -> bool:
        """True unless the ledger was emptied since the last feed."""
        return self._fed_identity in (None, self._ledger.identity())

    def _feed(
        self, index: CandidateIndex, redemptions: Iterable[RedemptionSeen], corrects: bool
    ) -> int:
        """Enters redemptions in batches and returns their number."""
        count, rest = 0, iter(redemptions)
        while part := list(islice(rest, _BATCH)):
            stand = [_redemption(index, one) for one in part if not one.is_taken_back]
            self._ledger.redeem(stand, corrects)
            self._take_back(one.redemption_id for one in part if one.is_taken_back)
            count += len(part)
        return count

    def _take_back(self, redemption_ids: Iterable[str]) -> None:
        rest = iter(redemption_ids if self._returns != NOTHING else ())
        while part := list(islice(rest, _BATCH)):
            self._ledger.take_back(part, keeps_use=self._returns == BUDGET)


def limited_coupons(index: CandidateIndex) -> frozenset[str]:
    """Returns the ids of the coupons with a limit that redemptions count against.

    Also of those with a limit that is yet to take effect: it must be right at its first instant.
    """
    limits = [getattr(index.terms, name) for name in REDEMPTION_LIMITS]
    limited = index.coupon_id[np.min(limits, axis=0) < NO_LIMIT]
    return frozenset(index.ever_limited).union(limited)


def _redemption(index: CandidateIndex, one: RedemptionSeen) -> Redemption:
    """Adds the campaign and, if it is unknown, the amount to a redemption.

    The amount is the coupon's highest value. That of a coupon that is not announced yet uses up
    every budget.
    """
    row = index.row_of.get(one.coupon_id)
    campaign = index.ever_limited.get(one.coupon_id, "") if row is None else index.campaign_id[row]
    amount = one.amount
    if amount is None:
        amount = LARGEST if row is None else _highest(index, row)
    holder = holder_of(one.user_id, one.visitor_id)
    return Redemption(
        one.redemption_id, one.user_id, one.coupon_id, campaign, one.at, amount, holder
    )


def _highest(index: CandidateIndex, row: int) -> int:
    """Returns the most that one use of a coupon can have cost, in minor units."""
    highest = int(index.terms.discounts.max_per_use[row])
    return highest if highest < NO_LIMIT else _open_budget(index, row)


def _open_budget(index: CandidateIndex, row: int) -> int:
    """Returns the largest budget of a coupon whose value has no limit; 0 for any other coupon."""
    terms = index.terms
    if terms.discounts.max_per_use[row] < NO_LIMIT:
        return 0
    budgets = (int(terms.campaign_budget[row]), int(terms.user_budget[row]))
    return max((one for one in budgets if one < NO_LIMIT), default=0)
