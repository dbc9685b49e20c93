"""The service accepts the notices that MLflow signs."""

import time

import pytest

from serving.errors import SignatureRefused
from serving.models.webhook import Webhook


class Session:
    """Replaces MLflow's HTTP session; delivers to our webhook."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    def post(self, url: str, data: bytes, headers: dict[str, str], timeout: float) -> None:
        # A server passes header names in lower case.
        self._webhook.handle({name.lower(): value for name, value in headers.items()}, data)


def notify(webhook: Webhook, secret: str | None) -> None:
    """Sends the notice of a new alias with MLflow's own code."""
    from mlflow.entities.webhook import Webhook as Registered
    from mlflow.entities.webhook import WebhookEvent
    from mlflow.webhooks.delivery import _send_webhook_request

    event = WebhookEvent.from_str("model_version_alias.created")
    url = "https://127.0.0.1/v1/registry-webhook"
    registered = Registered("1", "clipwise", url, [event], 0, 0, secret=secret)
    payload = {"name": "home_ranker", "alias": "champion", "version": "2"}
    _send_webhook_request(registered, payload, event, Session(webhook))


@pytest.fixture(autouse=True)
def loopback_allowed(monkeypatch):
    """Lets MLflow send to the loopback address; by default it sends to public ones only."""
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")


def test_notice_that_mlflow_signs_with_our_secret_is_accepted():
    notices = []
    notify(Webhook("s3cret", lambda: notices.append("accepted"), time.time), "s3cret")
    assert notices == ["accepted"]


@pytest.mark.parametrize("secret", ["other", None])
def test_notice_signed_with_another_secret_or_not_at_all_is_refused(secret):
    notices = []
    with pytest.raises(SignatureRefused):
        notify(Webhook("s3cret", lambda: notices.append("accepted"), time.time), secret)
    assert notices == []
