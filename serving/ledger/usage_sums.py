"""Sums over all users, cached by a process: uses of coupons and spend of campaigns."""

from collections.abc import Mapping


class UsageSums:
    """Uses by coupon and spend by campaign (minor units), as of one change of a ledger.

    A ledger numbers its changes, and stores each sum with its last change. So a process reads only
    the sums that changed since ``change``. ``identity`` is that of the ledger, empty before the
    first read.
    """

    def __init__(self) -> None:
        self.identity = ""
        self.change = 0
        self.uses: dict[str, int] = {}
        self.spent: dict[str, int] = {}

    def update(self, change: int, uses: Mapping[str, int], spent: Mapping[str, int]) -> None:
        """Replaces the sums that changed up to ``change``; ignores a read that is out of date."""
        if change >= self.change:
            self.change = change
            self.uses |= uses
            self.spent |= spent
