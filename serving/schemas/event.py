"""The HTTP contract of events: a batch from the shop, and its receipt."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from feature_repo.contract import EVENT_TYPES
from serving.schemas.fields import ContractModel, Id, Instant

MAX_EVENTS = 1_000
REDEMPTION, CANCELED = "redemption", "redemption_canceled"
# The values come from the contract of the raw tables.
EventType = Literal[*EVENT_TYPES, REDEMPTION, CANCELED]  # type: ignore[valid-type]  # mypy wants them written out
Count = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]


class Event(ContractModel):
    """An event of a user, with the columns of the raw table ``events``. Money is in minor units.

    An event of type ``redemption`` is a row of the raw table ``redemptions``; its id is the
    redemption's. It has a ``coupon_id`` and, if known, a ``discount_amount``. An event of type
    ``redemption_canceled`` takes back the redemption of ``redemption_id``. ``visitor_id`` is the
    one of the request whose coupon was redeemed.
    ``created_timestamp`` is the instant at which the sender learned of the event. By default it is
    the instant of arrival.
    """

    event_id: Id
    user_id: Id
    event_type: EventType
    event_timestamp: Instant
    created_timestamp: Instant | None = None
    product_id: Id | None = None
    basket_id: Id | None = None
    quantity: Count | None = None
    amount: Count | None = None
    retail_discount: Count | None = None
    coupon_discount: Count | None = None
    coupon_match_discount: Count | None = None
    coupon_id: Id | None = None
    discount_amount: Count | None = None
    redemption_id: Id | None = None
    visitor_id: Id | None = None


class EventBatch(ContractModel):
    """Events to store. Each is checked separately: an invalid event does not stop the others."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "shop-1",
                            "event_type": "purchase",
                            "user_id": "900",
                            "event_timestamp": "2017-12-30T18:12:00Z",
                            "product_id": "1095275",
                            "basket_id": "41",
                            "quantity": 1,
                            "amount": 50,
                        }
                    ]
                }
            ]
        }
    )

    events: tuple[Any, ...] = Field(max_length=MAX_EVENTS)


class Rejection(ContractModel):
    """An event that was not stored: its index in the batch, its id if present, and the reason."""

    index: int
    event_id: str | None
    reason: str


class EventReceipt(ContractModel):
    """The counts of a batch. A duplicate is an event already stored with the same content."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "duplicate": 0,
                    "rejected": 1,
                    "rejections": [
                        {
                            "index": 1,
                            "event_id": "shop-2",
                            "reason": "event_timestamp lies in the future",
                        }
                    ],
                }
            ]
        }
    )

    accepted: int
    duplicate: int
    rejected: int
    rejections: tuple[Rejection, ...]
