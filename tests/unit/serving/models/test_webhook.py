"""The registry's notices: only with the secret, only fresh, and never more than a look."""

import pytest

from serving.errors import SignatureRefused
from serving.models.webhook import Webhook, sign

BODY = b'{"entity": "model_version_alias", "action": "created", "data": {}}'
NOW = 1_514_764_800


def notice(secret="s3cret", at=NOW, body=BODY, **changes):
    signature = sign(secret, "delivery-1", str(at), body)
    headers = {
        "x-mlflow-signature": signature,
        "x-mlflow-delivery-id": "delivery-1",
        "x-mlflow-timestamp": str(at),
    }
    return headers | changes


@pytest.fixture
def looks():
    return []


@pytest.fixture
def webhook(looks):
    return Webhook("s3cret", lambda: looks.append("looked"), lambda: float(NOW))


def test_signed_notice_makes_the_service_look(webhook, looks):
    webhook.take(notice(), BODY)
    assert looks == ["looked"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        notice(secret="other"),
        notice(body=b"{}"),
        notice() | {"x-mlflow-delivery-id": "delivery-2"},
        notice() | {"x-mlflow-timestamp": str(NOW + 1)},
        notice() | {"x-mlflow-signature": "v1,"},
        notice() | {"x-mlflow-signature": "é"},
        notice(at=NOW - 301),
        notice(at=NOW + 301),
        notice(at="soon"),
        notice(at="²"),
    ],
)
def test_notice_without_a_fresh_signature_is_refused_and_does_nothing(webhook, looks, headers):
    with pytest.raises(SignatureRefused):
        webhook.take(headers, BODY)
    assert looks == []


def test_notice_of_five_minutes_ago_is_still_taken(webhook, looks):
    webhook.take(notice(at=NOW - 300), BODY)
    assert looks == ["looked"]
