"""The client: its requests, its retries and its deadline."""

import json

import httpx
import pytest

from serving.client import Client, ClientError, Patience, Refused, RetryPolicy, Unavailable
from serving.http.problems import PROBLEM_JSON, problem
from serving.schemas import CartItem

ANSWER = {
    "request_id": "r",
    "user_id": "900",
    "model": {"name": "own_purchases", "version": "rule-1"},
    "cold_start": False,
    "stale_features": [],
    "recommendations": [],
    "removed": {},
}


class Shop:
    """A client and a service that sends ``answers`` in order; only pauses move its clock."""

    def __init__(self, *answers: httpx.Response | Exception, **retry: float):
        self.answers, self.requests, self.pauses, self.now = list(answers), [], [], 0.0
        transport = httpx.MockTransport(self._answer)
        self.client = Client(
            "http://shop", "k", RetryPolicy(**retry), transport, self._sleep, lambda: self.now
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def refusal(status: int, **headers: str) -> httpx.Response:
    kind = {"content-type": PROBLEM_JSON}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=problem(status, "No."), headers=kind | named)


def answer(**changes: object) -> httpx.Response:
    return httpx.Response(200, json=ANSWER | changes)


def test_key_and_request_id_are_sent_and_the_answer_is_typed():
    shop = Shop(answer())
    assert shop.client.recommend("900", "home", k=3).model.name == "own_purchases"
    (request,) = shop.requests
    assert request.headers["authorization"] == "Bearer k"
    assert len(request.headers["x-request-id"]) == 32
    assert json.loads(request.content) == {
        "user_id": "900",
        "placement": "home",
        "k": 3,
        "cart": [],
        "explain": False,
    }


def test_lines_of_a_cart_are_sent_as_the_shop_states_them():
    shop = Shop(answer())
    shop.client.recommend(
        "900", "cart", cart=[CartItem(product_id="7", quantity=2, unit_price=0.5)]
    )
    (request,) = shop.requests
    line = {"product_id": "7", "quantity": 2.0, "unit_price": 0.5}
    assert json.loads(request.content)["cart"] == [line]


@pytest.mark.parametrize(
    "failure", [refusal(503), refusal(429), httpx.ConnectError("down"), httpx.ReadTimeout("slow")]
)
def test_temporary_failure_is_retried_with_the_same_request_id(failure):
    shop = Shop(failure, answer())
    shop.client.recommend("900", "home")
    first, second = (request.headers["x-request-id"] for request in shop.requests)
    assert first == second and len(shop.pauses) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 500])
def test_refusal_is_not_retried_and_states_the_reason(status):
    shop = Shop(refusal(status))
    with pytest.raises(Refused, match="No.") as raised:
        shop.client.recommend("900", "home", request_id="mine")
    assert raised.value.status == status and raised.value.request_id == "mine"
    assert len(shop.requests) == 1


def test_retry_after_is_the_pause():
    shop = Shop(refusal(429, retry_after="3"), answer())
    shop.client.recommend("900", "home")
    assert shop.pauses == [3.0]


def test_retry_after_beyond_the_deadline_is_a_refusal_at_once():
    shop = Shop(refusal(429, retry_after="30"))
    with pytest.raises(Refused) as raised:
        shop.client.recommend("900", "home")
    assert raised.value.status == 429 and shop.pauses == []


def test_pauses_are_random_and_grow_to_a_limit():
    down = [httpx.ConnectError("down") for _ in range(7)]
    shop = Shop(*down, attempts=7, pause=1.0, longest_pause=4.0, deadline=100.0)
    with pytest.raises(Unavailable, match="7 attempts"):
        shop.client.recommend("900", "home")
    assert len(shop.pauses) == 6 and len(set(shop.pauses)) == 6
    bounds = (1, 2, 4, 4, 4, 4)
    assert all(0 <= pause <= most for pause, most in zip(shop.pauses, bounds, strict=True))


def test_no_attempt_starts_after_the_deadline():
    down = [refusal(503, retry_after="4") for _ in range(5)]
    shop = Shop(*down, deadline=10.0)
    with pytest.raises(Refused):
        shop.client.recommend("900", "home")
    assert shop.pauses == [4.0, 4.0] and len(shop.requests) == 3


def test_answer_that_trickles_times_out_within_the_deadline():
    shop = Shop(attempt=2.0, attempts=2, pause=0.0)

    def trickle():
        for _ in range(1_000):
            shop.now += 0.5
            yield b" "

    shop.answers += [httpx.Response(200, content=trickle()) for _ in range(2)]
    with pytest.raises(Unavailable, match="too slow"):
        shop.client.recommend("900", "home")
    assert len(shop.requests) == 2 and shop.now <= 5.0


def test_answer_that_cannot_be_decompressed_is_retried():
    corrupt = httpx.Response(
        200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
    )
    shop = Shop(corrupt, answer())
    assert shop.client.recommend("900", "home").user_id == "900"


def test_unknown_fields_of_a_newer_service_are_ignored():
    assert Shop(answer(quotes=[])).client.recommend("900", "home").request_id == "r"


def test_answer_of_another_service_is_one_sentence():
    with pytest.raises(ClientError, match="check the URL"):
        Shop(httpx.Response(200, text="<html>")).client.recommend("900", "home")
    with pytest.raises(Refused, match="did not come from a Clipwise service"):
        Shop(httpx.Response(502, text="<html>")).client.recommend("900", "home")


def test_patience_of_version_0_1_still_sets_attempts_and_their_timeout():
    requests = []

    def refuse(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return refusal(503)

    patience = Patience(deadline=10.0, attempt=0.5, attempts=1)
    client = Client("http://shop", patience=patience, transport=httpx.MockTransport(refuse))
    with pytest.raises(Refused):
        client.recommend("900", "home")
    assert [request.extensions["timeout"]["read"] for request in requests] == [0.5]
