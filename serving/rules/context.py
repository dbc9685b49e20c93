"""The facts that rules decide on."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.candidates.cart import Cart
from serving.candidates.discounts import Coverage
from serving.candidates.index import CandidateIndex
from serving.ledger.ledger import Usage
from serving.rules.settings import RuleSettings

BINDING_PLACEMENTS = ("cart", "checkout")
"""Placements where the shopper is about to pay: a coupon must apply to the cart."""


@dataclass(frozen=True)
class RuleContext:
    """Everything that rules read: index, instant, user, cart, placement, settings, usage.

    ``as_of`` is in microseconds. ``coverage`` has the cart. ``redeemed`` counts the user's
    redemptions by coupon id, from the online features. ``usage`` comes from the ledger, up to the
    instant ``until`` (by default ``as_of``). It is read once, after the rules that do not need it.
    Reservations and impressions are those of ``holder``, by default of the user.
    """

    index: CandidateIndex
    as_of: int
    redeemed: Mapping[str, float]
    coverage: Coverage
    user_id: str = ""
    placement: str = "home"
    settings: RuleSettings = RuleSettings()
    usage: Usage = Usage()
    until: int | None = None
    holder: str | None = None

    @property
    def cart(self) -> Cart:
        """The cart of the request."""
        return self.coverage.cart

    @property
    def is_binding(self) -> bool:
        """True if there is a cart and the shopper is about to pay it."""
        return len(self.cart) > 0 and self.placement in BINDING_PLACEMENTS
