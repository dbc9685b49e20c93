"""Notices from the model registry that an alias changed, accepted only with a valid signature.

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
"""Largest difference between a notice's timestamp and now, in seconds; limits replays."""


@dataclass(frozen=True)
class Webhook:
    """The receiver of the registry's notices.

    ``secret`` is shared with the registry, ``on_notice`` runs for each accepted notice, ``now``
    returns Unix time in seconds.
    """

    secret: str
    on_notice: Callable[[], None]
    now: Callable[[], float]

    def handle(self, headers: Mapping[str, str], body: bytes) -> None:
        """Runs ``on_notice`` if the notice is signed and recent. Raises SignatureRefused.

        The body is not used. ``on_notice`` reads the alias instead, so that a replayed notice has
        no effect.
        """
        if not _is_signed(self.secret, headers, body):
            raise SignatureRefused(
                "The notice is not signed with this service's secret; create the webhook with "
                "the secret in CLIPWISE_WEBHOOK_SECRET."
            )
        if not _is_recent(headers.get(TIMESTAMP, ""), self.now()):
            raise SignatureRefused(
                f"The notice was signed more than {TOLERANCE} seconds from now; set both clocks."
            )
        self.on_notice()


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Returns the value of MLflow's signature header for a notice."""
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    expected = sign(secret, headers.get(DELIVERY, ""), headers.get(TIMESTAMP, ""), body)
    return hmac.compare_digest(expected.encode(), headers.get(SIGNATURE, "").encode())


def _is_recent(timestamp: str, now: float) -> bool:
    return timestamp.isascii() and timestamp.isdigit() and abs(int(timestamp) - now) <= TOLERANCE
