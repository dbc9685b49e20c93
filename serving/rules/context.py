"""The facts that rules decide on."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.candidates.cart import Cart
from serving.candidates.discounts import Coverage
from serving.candidates.index import CandidateIndex
from serving.ledger.ledger import Usage
from serving.rules.settings import RuleSettings

_BINDING = ("cart", "checkout")
"""Where the cart is what the shopper is about to pay: a coupon must do something for it."""


@dataclass(frozen=True)
class RuleContext:
    """What rules may look at.

    ``as_of`` is in microseconds; ``coverage`` has the cart; ``redeemed`` counts the user's
    redemptions so far by coupon id, as the online features know them; ``usage`` is what the ledger
    knows until the instant ``until``, by default ``as_of``, read once cheap rules are done.
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

    @property
    def cart(self) -> Cart:
        return self.coverage.cart

    @property
    def is_binding(self) -> bool:
        """Whether there is a cart and it is about to be paid."""
        return len(self.cart) > 0 and self.placement in _BINDING
