"""The registry's notices of a changed alias: whether one comes from who holds the secret.

MLflow signs as Standard Webhooks does: HMAC-SHA256 over ``delivery.timestamp.body``, in base64.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serving.errors import SignatureRefused

SIGNATURE, DELIVERY, TIMESTAMP = (
    "x-mlflow-signature",
    "x-mlflow-delivery-id",
    "x-mlflow-timestamp",
)
TOLERANCE = 300
"""Seconds by which a notice may be older or newer than now: a recorded one is no use later."""


@dataclass(frozen=True)
class Webhook:
    """Where the registry's notices come in: the secret, and what to do on one.

    ``now`` gives Unix time in seconds.
    """

    secret: str
    notified: Callable[[], None]
    now: Callable[[], float]

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Act on a signed notice. Raises SignatureRefused.

        What it says is not used: the alias is looked at instead, which no old notice can change.
        """
        if not _signed(self.secret, headers, body):
            raise SignatureRefused(
                "The notice is not signed with this service's secret; create the webhook with "
                "the secret in CLIPWISE_WEBHOOK_SECRET."
            )
        if not _fresh(headers.get(TIMESTAMP, ""), self.now()):
            raise SignatureRefused(
                f"The notice was signed more than {TOLERANCE} seconds from now; set both clocks."
            )
        self.notified()


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature of a notice, as MLflow sends it."""
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    expected = sign(secret, headers.get(DELIVERY, ""), headers.get(TIMESTAMP, ""), body)
    return hmac.compare_digest(expected.encode(), headers.get(SIGNATURE, "").encode())


def _fresh(timestamp: str, now: float) -> bool:
    return timestamp.isascii() and timestamp.isdigit() and abs(int(timestamp) - now) <= TOLERANCE
