"""The HTTP contract: what a shop asks for and what it gets back."""

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
from feature_repo.names import PLACEMENTS
from feature_repo.transforms.request.affinity import CartLine as PricedLine
from feature_repo.transforms.request.reasons import REASON_CODES
from serving.candidates.quotes import Quote
from serving.schemas.fields import Closed, Id, Instant, few_names

MAX_CART_LINES = 500


# Far above any real basket, and low enough for quantity x price to stay exact.
_MAX_QUANTITY = 1_000_000


_MAX_PRICE = 1_000_000_000


Placement = Literal[PLACEMENTS]


ReasonCode = Literal[REASON_CODES]


class CartItem(Closed):
    """A line of the cart. ``unit_price`` is in major units: 0.5 is 50 cents."""

    product_id: Id
    quantity: float = Field(gt=0, le=_MAX_QUANTITY, strict=True)
    unit_price: float = Field(ge=0, le=_MAX_PRICE, strict=True)

    def priced(self) -> PricedLine:
        """The line with its price in minor units, rounded to whole ones (half to even)."""
        cents = float(round(self.unit_price * MINOR_UNITS))
        return PricedLine(self.product_id, self.quantity, cents)


class RecommendationRequest(Closed):
    """Which coupons to show this user at this placement, given the cart.

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
    placement: Placement
    k: int = Field(10, ge=1, le=100, strict=True)
    cart: tuple[CartItem, ...] = Field((), max_length=MAX_CART_LINES)
    explain: bool = Field(False, strict=True)
    as_of: Instant | None = None

    _names = model_validator(mode="before")(few_names)

    @cached_property
    def lines(self) -> list[PricedLine]:
        """The cart with prices in minor units."""
        return [item.priced() for item in self.cart]


class ModelName(Closed):
    """Which ranker made the scores."""

    name: str
    version: str


class Reason(Closed):
    """Why a coupon has its score, in the words of a support agent.

    ``effect`` is what the things behind ``code`` added to the score; below zero they speak against
    the coupon. Everything that moved the score has a code, so the effects of all codes, and what
    every coupon starts from, sum to it; the strongest few are here.
    """

    code: ReasonCode
    text: str
    effect: float


class Recommendation(Closed):
    """A coupon to show. ``reasons`` are there if the request says ``explain``, strongest first.

    ``quote`` is absent where the retailer does not state what the coupon gives.
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


class RecommendationAnswer(Closed):
    """Ranked coupons, best first. ``reason`` is there only if there are none.

    ``removed`` counts, by rule, the coupons that are not shown: ``audience`` those meant for
    others, every other rule those that reach this user.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "0f4b6c1e9d7a4c0c8d0a4a4f3b1f2e6d",
                    "user_id": "900",
                    "model": {"name": "coupon_ranker", "version": "3"},
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
    reason: str | None = None
