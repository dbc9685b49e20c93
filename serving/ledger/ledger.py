"""The ledger: what was redeemed, what is set aside for whom, and who was shown what.

It knows nothing of limits. The rules read it once a request, and what they let through is set
aside in one step that looks again, so that no two requests are promised the last unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

TOTAL, CAMPAIGN, USER_BUDGET = "usage_cap_total", "campaign_budget", "user_budget"
FREQUENCY = "frequency_cap"
"""Rules of which a claim can fail."""

EVER = 2**62
"""An instant after all others, in microseconds."""


@dataclass(frozen=True)
class Redemption:
    """A use of a coupon: ``at`` in microseconds, ``amount`` in minor units."""

    redemption_id: str
    user_id: str
    coupon_id: str
    campaign_id: str
    at: int
    amount: int


@dataclass(frozen=True)
class Claim:
    """What showing a coupon takes: one use and ``cost`` minor units, within these limits.

    A ``reserved`` claim is set aside until the user redeems the coupon or the reservation expires.
    That it was shown is remembered for ``impression_period`` microseconds, if that is not 0; less
    than so long before or after, it may be shown ``impression_limit`` times: two clocks differ.
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
        """Whether an impression counts for one at another instant, both in microseconds."""
        return abs(seen - at) < self.impression_period


@dataclass(frozen=True)
class Usage:
    """What counts for one user now: redemptions, and reservations that live.

    ``uses`` by coupon and ``spent`` by campaign (minor units) are of all users; ``spent_on_user``
    by campaign is of this one. ``redeemed`` and ``seen`` have the user's redemptions and
    impressions as (coupon, microseconds); ``held`` what is reserved for the user, by coupon:
    (campaign, minor units).
    """

    uses: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    spent_on_user: dict[str, int] = field(default_factory=dict)
    redeemed: Sequence[tuple[str, int]] = ()
    seen: Sequence[tuple[str, int]] = ()
    held: dict[str, tuple[str, int]] = field(default_factory=dict)

    def failing(self, claim: Claim, at: int) -> str | None:
        """The rule by which a claim at an instant does not fit, or None.

        It costs at least one minor unit. What is reserved for the user's own coupon is free for it.
        """
        cost, own = max(claim.cost, 1), self.held.get(claim.coupon_id, ("", 0))[1]
        if self.uses.get(claim.coupon_id, 0) - self.has(claim.coupon_id) >= claim.total_limit:
            return TOTAL
        if self.spent.get(claim.campaign_id, 0) - own + cost > claim.campaign_budget:
            return CAMPAIGN
        if self.spent_on_user.get(claim.campaign_id, 0) - own + cost > claim.user_budget:
            return USER_BUDGET
        near = sum(one == claim.coupon_id and claim.is_near(seen, at) for one, seen in self.seen)
        if near >= claim.impression_limit:
            return FREQUENCY
        return None

    def has(self, coupon_id: str) -> bool:
        """Whether the coupon is reserved for the user."""
        return coupon_id in self.held

    def take(self, claim: Claim) -> tuple[str, int, str, int]:
        """Count a claim as reserved, in place of a reservation of the same coupon.

        Gives by how much the uses of which coupon grew, and what its campaign has spent.
        """
        own = self.held.get(claim.coupon_id, ("", 0))[1]
        uses, amount = 1 - self.has(claim.coupon_id), claim.cost - own
        for counts, key, more in (
            (self.uses, claim.coupon_id, uses),
            (self.spent, claim.campaign_id, amount),
            (self.spent_on_user, claim.campaign_id, amount),
        ):
            counts[key] = counts.get(key, 0) + more
        self.held[claim.coupon_id] = (claim.campaign_id, claim.cost)
        return claim.coupon_id, uses, claim.campaign_id, amount


class Ledger(Protocol):
    """A store that several threads and processes share. Every method raises StorageFailed."""

    def usage(self, user_id: str, since: int, until: int) -> Usage:
        """What the rules read, in one batch.

        Impressions are those after ``since`` and not after ``until``, redemptions those not after
        ``until``, both in microseconds.
        """

    def claim(self, user_id: str, claims: Sequence[Claim], at: int) -> dict[str, str]:
        """Take every claim that still fits its limits, in order, at an instant in microseconds.

        Gives, by coupon, the rule by which the others failed. A claim of a coupon that is reserved
        for the user already takes the place of that reservation.
        """

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """Enter redemptions, each once, and end the reservations that they use.

        One that is there already is changed to what is said now, if that ``corrects`` it.
        """

    def identity(self) -> str:
        """Names what it holds: another one once somebody emptied it."""


class NoLedger:
    """Stands where nothing is kept: nobody used, reserved or saw anything."""

    def usage(self, user_id: str, since: int, until: int) -> Usage:
        return Usage()

    def claim(self, user_id: str, claims: Sequence[Claim], at: int) -> dict[str, str]:
        return {}

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        return None

    def identity(self) -> str:
        return ""
