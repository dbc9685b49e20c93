"""Notices of the registry need the secret and a recent timestamp, and only trigger a check."""

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
def notices():
    return []


@pytest.fixture
def webhook(notices):
    return Webhook("s3cret", lambda: notices.append("accepted"), lambda: float(NOW))


def test_signed_notice_is_accepted(webhook, notices):
    webhook.handle(notice(), BODY)
    assert notices == ["accepted"]


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
def test_notice_without_a_recent_signature_is_refused_without_effect(webhook, notices, headers):
    with pytest.raises(SignatureRefused):
        webhook.handle(headers, BODY)
    assert notices == []


def test_notice_signed_five_minutes_ago_is_accepted(webhook, notices):
    webhook.handle(notice(at=NOW - 300), BODY)
    assert notices == ["accepted"]
