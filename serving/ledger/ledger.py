"""The interface of the ledger, and its values: redemptions, claims, usage.

The ledger does not store limits. The rules read a user's usage once per request. Then the selected
coupons are claimed: one step checks the limits again and reserves. So no two requests are promised
the last unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

TOTAL, CAMPAIGN, USER_BUDGET = "usage_cap_total", "campaign_budget", "user_budget"
FREQUENCY = "frequency_cap"
"""Rules by which a claim can fail."""

END_OF_TIME = 2**62
"""An instant after all others, in microseconds."""


@dataclass(frozen=True)
class Redemption:
    """A use of a coupon: ``at`` in microseconds, ``amount`` in minor units.

    ``holder`` is the visitor for whom it was reserved, if not for the user.
    """

    redemption_id: str
    user_id: str
    coupon_id: str
    campaign_id: str
    at: int
    amount: int
    holder: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to show a coupon: one use and ``cost`` minor units, within these limits.

    A ``reserved`` claim is a reservation until the user redeems the coupon or it expires. An
    impression is stored for ``impression_period`` microseconds, unless that is 0. Impressions
    within ± ``impression_period`` count against ``impression_limit``; ± because clocks differ.
    """

    coupon_id: str
    campaign_id: str
    cost: int
    total_limit: int
    campaign_budget: int
    user_budget: int
    reserved: bool
    impression_limit: int
    impression_period: int

    def is_near(self, seen: int, at: int) -> bool:
        """True if an impression at ``seen`` counts for one at ``at``, both in microseconds."""
        return abs(seen - at) < self.impression_period


@dataclass(frozen=True)
class Usage:
    """The counts that the rules read for one user: redemptions, and reservations in force.

    ``uses`` by coupon and ``spent`` by campaign (minor units) are of all users. ``spent_on_user``
    by campaign is of this user. ``redeemed`` and ``seen`` have the user's redemptions and
    impressions as (coupon, microseconds). ``held`` has the user's reservations by coupon, as
    (campaign, minor units). ``taken_back`` has the coupon of each redemption by the user whose use
    was given back.
    """

    uses: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    spent_on_user: dict[str, int] = field(default_factory=dict)
    redeemed: Sequence[tuple[str, int]] = ()
    seen: Sequence[tuple[str, int]] = ()
    held: dict[str, tuple[str, int]] = field(default_factory=dict)
    taken_back: Sequence[str] = ()

    def failed_rule(self, claim: Claim, at: int) -> str | None:
        """Returns the rule by which a claim at an instant exceeds its limits, or None.

        A claim costs at least one minor unit. It replaces the user's own reservation of the coupon,
        which therefore does not count.
        """
        cost, own = max(claim.cost, 1), self.held.get(claim.coupon_id, ("", 0))[1]
        others = self.uses.get(claim.coupon_id, 0) - self.is_reserved(claim.coupon_id)
        if others >= claim.total_limit:
            return TOTAL
        if self.spent.get(claim.campaign_id, 0) - own + cost > claim.campaign_budget:
            return CAMPAIGN
        if self.spent_on_user.get(claim.campaign_id, 0) - own + cost > claim.user_budget:
            return USER_BUDGET
        near = sum(one == claim.coupon_id and claim.is_near(seen, at) for one, seen in self.seen)
        if near >= claim.impression_limit:
            return FREQUENCY
        return None

    def is_reserved(self, coupon_id: str) -> bool:
        """True if the coupon is reserved for the user."""
        return coupon_id in self.held

    def reserve(self, claim: Claim) -> tuple[str, int, str, int]:
        """Adds a claim to the reservations; it replaces a reservation of the same coupon.

        Returns the changes of the sums: coupon, additional uses, campaign, additional minor units.
        """
        own = self.held.get(claim.coupon_id, ("", 0))[1]
        uses, amount = 1 - self.is_reserved(claim.coupon_id), claim.cost - own
        for counts, key, more in (
            (self.uses, claim.coupon_id, uses),
            (self.spent, claim.campaign_id, amount),
            (self.spent_on_user, claim.campaign_id, amount),
        ):
            counts[key] = counts.get(key, 0) + more
        self.held[claim.coupon_id] = (claim.campaign_id, claim.cost)
        return claim.coupon_id, uses, claim.campaign_id, amount


def holder_of(user_id: str, visitor_id: str | None) -> str | None:
    """Returns the holder of a visitor's reservations; None for the user.

    >>> holder_of("guest", None), holder_of("guest", "session-1")
    (None, 'guest\\x00session-1')
    """
    return None if visitor_id is None else f"{user_id}\0{visitor_id}"


class Ledger(Protocol):
    """A store that threads and processes share. Every method raises StorageFailed.

    A ``holder`` has reservations and impressions of its own; by default it is the user.
    """

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        """Reads the counts of a user in one call.

        Impressions are those after ``since`` and not after ``until``. Redemptions are those before
        ``until``: a redemption at the instant of a visit follows the list of that visit. Both are
        in microseconds.
        """

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        """Takes every claim that fits its limits, in order, at an instant in microseconds.

        Returns the rule by which each other claim failed, by coupon. A claim of a coupon that is
        reserved for the user replaces that reservation.
        """

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """Enters redemptions, each once, and ends the reservations that they use.

        Idempotent. With ``corrects``, a redemption that is already stored is replaced, and one that
        was taken back counts again. Else one that was taken back is left out.
        """

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        """Gives back what redemptions cost, and their uses unless ``keeps_use``. Idempotent.

        A redemption that is not stored yet is taken back when it arrives.
        """

    def identity(self) -> str:
        """Returns a name of the store's content, another one after the store was emptied."""


class NoLedger:
    """A ledger that stores nothing: all counts are zero and every claim fits."""

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        """Returns zero counts."""
        return Usage()

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        """Takes every claim."""
        return {}

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """Ignores the redemptions."""

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        """Ignores the redemptions."""

    def identity(self) -> str:
        """Returns an empty name."""
        return ""
