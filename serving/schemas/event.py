"""The HTTP contract: the events that a shop sends, and its receipt."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from feature_repo.contract import EVENT_TYPES
from serving.schemas.fields import Closed, Id, Instant

MAX_EVENTS = 1_000
REDEMPTION = "redemption"
EventType = Literal[*EVENT_TYPES, REDEMPTION]
Count = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]


class Event(Closed):
    """Something a user did, as in the raw table ``events``. Money is in minor units (cents).

    A redemption is a row of the raw table ``redemptions`` whose id is the event's: it names the
    ``coupon_id`` and, if known, its ``discount_amount``.
    ``created_timestamp`` is when the sender learned it; without it, the instant it arrives here.
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


class EventBatch(Closed):
    """Events to take in. Each is checked by itself: a bad one does not stop the others."""

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


class Rejection(Closed):
    """An event that was not taken in: its place in the batch, its id if it had one, and why."""

    index: int
    event_id: str | None
    reason: str


class EventReceipt(Closed):
    """What became of a batch. A duplicate was already here with the same content."""

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
