"""The HTTP contract of recommendations: the request of a shop, and its answer."""

from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import (
    ConfigDict,
    Field,
    model_validator,
)

from feature_repo.contract import MINOR_UNITS
from feature_repo.names import Placement
from feature_repo.transforms.request.cart import CartLine as PricedLine
from feature_repo.transforms.request.reasons import REASON_CODES
from serving.candidates.cart import minor_units
from serving.candidates.quotes import Quote
from serving.schemas.fields import ContractModel, Id, Instant, limit_names

MAX_CART_LINES = 500

# Far above any real basket, and low enough for quantity x price to stay exact.
_MAX_QUANTITY = 1_000_000
_MAX_PRICE = 1_000_000_000

# The codes are defined once, beside their sentences.
ReasonCode = Literal[REASON_CODES]  # type: ignore[valid-type]  # mypy wants them written out


class CartItem(ContractModel):
    """A line of the cart. ``unit_price`` is in major units: 0.5 is 50 cents.

    With a negative price or quantity the line is a deduction, such as a returned deposit or a
    voucher. A line of quantity 0 counts for nothing.
    """

    product_id: Id
    quantity: float = Field(ge=-_MAX_QUANTITY, le=_MAX_QUANTITY, strict=True)
    unit_price: float = Field(ge=-_MAX_PRICE, le=_MAX_PRICE, strict=True)

    @property
    def is_goods(self) -> bool:
        """True for a line that is bought."""
        return self.quantity > 0 and self.unit_price >= 0

    @property
    def is_deduction(self) -> bool:
        """True for a line that lowers the total."""
        return self.quantity != 0 and (self.quantity < 0) != (self.unit_price < 0)

    def priced(self) -> PricedLine:
        """Returns the line with its price in minor units, not rounded."""
        return PricedLine(self.product_id, self.quantity, minor_units(self.unit_price, MINOR_UNITS))


class RecommendationRequest(ContractModel):
    """A request for coupons to show to a user at a placement, given the cart.

    ``k`` is the largest number of coupons in the answer. ``explain`` adds reasons to each.
    ``combination`` states how the shop combines coupons on one cart. By default the shopper takes
    the best, and each coupon is quoted alone. With ``stack`` each is quoted on what the coupons
    above it leave to pay. ``visitor_id`` separates visitors who share a user_id, such as guests:
    reservations and impressions are those of the visitor.
    ``as_of`` is the instant to decide for; only a service in replay accepts it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "900",
                    "placement": "home",
                    "k": 10,
                    "cart": [{"product_id": "1095275", "quantity": 1, "unit_price": 0.5}],
                    "explain": True,
                }
            ]
        }
    )

    user_id: Id
    visitor_id: Id | None = None
    placement: Placement
    k: int = Field(10, ge=1, le=100, strict=True)
    cart: tuple[CartItem, ...] = Field((), max_length=MAX_CART_LINES)
    explain: bool = Field(False, strict=True)
    combination: Literal["best", "stack"] = "best"
    as_of: Instant | None = None

    _names = model_validator(mode="before")(limit_names)

    @cached_property
    def lines(self) -> list[PricedLine]:
        """The goods in the cart with prices in minor units, not rounded.

        Two units for 5.01 cost 250.5 each, and 501 is the amount of the line. Rankers read no
        other lines, as training has no others.
        """
        return [item.priced() for item in self.cart if item.is_goods]

    @cached_property
    def deductions(self) -> list[PricedLine]:
        """The lines that lower the total, with prices in minor units, not rounded."""
        if len(self.lines) == len(self.cart):
            return []
        return [item.priced() for item in self.cart if item.is_deduction]


class CartNote(ContractModel):
    """A line of the cart that is not known goods, and what it counts for; ``line`` is from 0."""

    line: int
    product_id: str
    note: str


class ModelName(ContractModel):
    """The ranker of the scores, by name and version."""

    name: str
    version: str


class Reason(ContractModel):
    """A reason for a coupon's score, in words for a support agent.

    ``effect`` is what the inputs behind ``code`` added to the score; below zero they count against
    the coupon. The effects of all codes, plus the base of every coupon, sum to the score. Only the
    strongest few are listed.
    """

    code: ReasonCode
    text: str
    effect: float


class Recommendation(ContractModel):
    """A coupon to show. With ``explain`` it has ``reasons``, the strongest first.

    ``quote`` is absent if the retailer does not state the coupon's discount.
    ``redemption_probability`` is the probability that the user redeems the coupon at this visit. It
    is absent while a rule without a calibration ranks. ``excludes`` lists the coupons of the answer
    whose quote cannot be added to this one, as both take money off a same line.
    """

    coupon_id: str
    coupon_code: str
    campaign_id: str
    rank: int
    score: float
    propensity: float
    valid_to: datetime
    reasons: tuple[Reason, ...] = ()
    quote: Quote | None = None
    redemption_probability: float | None = None
    excludes: tuple[str, ...] | None = None


class RecommendationAnswer(ContractModel):
    """Ranked coupons, best first. An empty list has a ``reason``.

    ``removed`` counts the coupons that each rule removed. ``audience`` counts those of campaigns
    that do not reach this user, every other rule those that do. ``redemption_probability`` is the
    probability that the user redeems any of the candidates at this visit, shown or not. It is
    absent while a rule without a calibration ranks. ``cart_notes`` lists the lines of the cart
    that were left out, that lower the total, or whose product is unknown.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "0f4b6c1e9d7a4c0c8d0a4a4f3b1f2e6d",
                    "user_id": "900",
                    "model": {"name": "home_ranker", "version": "3"},
                    "cold_start": False,
                    "stale_features": [],
                    "recommendations": [
                        {
                            "coupon_id": "18:10000085362",
                            "coupon_code": "10000085362",
                            "campaign_id": "18",
                            "rank": 1,
                            "score": 1.73,
                            "propensity": 1.0,
                            "valid_to": "2017-12-25T05:00:00Z",
                            "redemption_probability": 0.021,
                            "reasons": [
                                {
                                    "code": "own_purchases",
                                    "text": "Bought 3 times before, for 3.58 in total",
                                    "effect": 1.52,
                                },
                                {
                                    "code": "recent_purchase",
                                    "text": "Last bought 5 days ago",
                                    "effect": 0.14,
                                },
                                {
                                    "code": "days_left",
                                    "text": "Against it: ends in 24 days",
                                    "effect": -0.08,
                                },
                            ],
                            "quote": asdict(
                                Quote("percent", 20, 30, 0, 0, ("1095275",), 150, 0, False)
                            ),
                        }
                    ],
                    "removed": {"audience": 458, "expired": 3, "usage_cap": 1},
                    "redemption_probability": 0.047,
                }
            ]
        }
    )

    request_id: str
    user_id: str
    model: ModelName
    cold_start: bool
    stale_features: tuple[str, ...]
    recommendations: tuple[Recommendation, ...]
    removed: dict[str, int]
    redemption_probability: float | None = None
    reason: str | None = None
    cart_notes: tuple[CartNote, ...] | None = None
