"""Admission of requests: keys, scopes, rates and bodies."""

import asyncio
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.admission import OPEN_FOLDER, OPEN_PATHS, SCOPE_BY_PATH
from serving.access.api_keys import Key, KeyRing
from serving.access.rate_limits import RateLimiter
from serving.api.app import create_app
from serving.http.limits import Limits
from tests.support.serving_services import ASK, assert_problem, call, service

SECRETS = {"recommend": "a" * 43, "events": "b" * 43, "admin": "c" * 43}
TOKENS = {scope: f"clipwise_{ord(text[0]):08x}_{text}" for scope, text in SECRETS.items()}


def key(scope: str, per_second: float | None = None) -> Key:
    token = TOKENS[scope]
    digest = hashlib.sha256(token.encode()).hexdigest()
    return Key(token[9:17], scope, (scope,), digest, "2017-12-01T00:00:00+00:00", per_second)


KEYS = [key(scope) for scope in TOKENS]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def ask(token: str | None = None, path: str = "/v1/recommendations", **more) -> tuple:
    headers = bearer(token) if token else {}
    return ("POST", path, {"json": ASK, "headers": headers} | more)


def test_only_a_key_with_the_scope_is_admitted():
    answers = call(service(keys=KEYS), *(ask(token) for token in TOKENS.values()))
    assert [answer.status_code for answer in answers] == [200, 403, 403]
    document = assert_problem(answers[1], 403)
    assert "scope recommend" in document["detail"]
    assert 'scope="recommend"' in answers[1].headers["www-authenticate"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        f"Bearer {TOKENS['recommend'][:-1]}d",
        f"Bearer {TOKENS['recommend']}a",
        f"Bearer clipwise_00000000_{'a' * 43}",
        "Bearer é",
        "Bearer " + "x" * 10_000,
    ],
)
def test_request_without_a_valid_key_gets_401_and_how_to_send_one(header):
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    (answer,) = call(service(keys=KEYS), ask(headers=headers))
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="clipwise"')
    assert "clipwise_" not in answer.text


def test_scheme_is_case_insensitive():
    headers = {"authorization": f"bEaReR {TOKENS['recommend']}"}
    assert call(service(keys=KEYS), ask(headers=headers))[0].status_code == 200


def test_probes_and_the_docs_need_no_key():
    paths = ("/healthz", "/readyz", "/docs", "/openapi.json", f"{OPEN_FOLDER}swagger-ui.css")
    answers = call(service(keys=KEYS), *(("GET", path, {}) for path in paths))
    assert [answer.status_code for answer in answers] == [200] * len(paths)


def test_metrics_and_the_model_page_need_an_admin():
    shown = ("/metrics", "/v1/model")
    for token, status in ((TOKENS["admin"], 200), (TOKENS["recommend"], 403)):
        requests = [("GET", path, {"headers": bearer(token)}) for path in shown]
        assert [one.status_code for one in call(service(keys=KEYS), *requests)] == [status] * 2


def test_unknown_path_gets_401_without_a_key():
    without_key, with_key = call(
        service(keys=KEYS), ("GET", "/v2", {}), ("GET", "/v2", {"headers": bearer(TOKENS["admin"])})
    )
    assert (without_key.status_code, with_key.status_code) == (401, 404)


def test_every_route_has_a_scope_or_is_open_on_purpose():
    paths = {route.path for route in create_app(service()).routes}
    assert {f"{path.rstrip('/')}/" for path in paths} <= {
        f"{path.rstrip('/')}/" for path in (*SCOPE_BY_PATH, *OPEN_PATHS, OPEN_FOLDER)
    }


def test_service_without_keys_needs_none():
    assert call(service(), ask())[0].status_code == 200


def test_key_above_its_rate_gets_429_and_when_to_retry():
    keys = [key("recommend", per_second=2)]
    answers = call(service(keys=keys), *[ask(TOKENS["recommend"])] * 3)
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_problem(answers[2], 429)
    assert answers[2].headers["retry-after"] == "1"


def test_keys_without_a_rate_have_that_of_the_settings():
    limited = service(keys=KEYS, limits=Limits(per_second=1))
    answers = call(limited, ask(TOKENS["recommend"]), ask(TOKENS["recommend"]))
    assert [answer.status_code for answer in answers] == [200, 429]
    free = service(keys=KEYS, limits=Limits(per_second=0))
    assert {one.status_code for one in call(free, *[ask(TOKENS["recommend"])] * 30)} == {200}


def test_keys_do_not_share_their_rate():
    rates = RateLimiter(lambda: 0.0)
    assert rates.seconds_to_wait("a", 1.0) == 0.0 and rates.seconds_to_wait("a", 1.0) == 1.0
    assert rates.seconds_to_wait("b", 1.0) == 0.0


def test_rate_below_one_request_per_second_is_kept():
    now = [0.0]
    rates = RateLimiter(lambda: now[0])
    assert rates.seconds_to_wait("a", 0.1) == 0.0
    assert rates.seconds_to_wait("a", 0.1) == 10.0
    now[0] = 10.0
    assert rates.seconds_to_wait("a", 0.1) == 0.0


@given(st.floats(0.1, 50), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_key_gets_more_than_a_second_ahead_of_its_rate(per_second, pauses):
    now, admitted = [0.0], 0
    rates = RateLimiter(lambda: now[0])
    for pause in pauses:
        now[0] += pause
        admitted += rates.seconds_to_wait("a", per_second) == 0.0
    assert admitted <= max(1.0, per_second) + per_second * now[0] + 1e-6


@given(st.floats(0.1, 50), st.floats(0, 10))
def test_request_after_the_wait_is_admitted(per_second, elapsed):
    now = [0.0]
    rates = RateLimiter(lambda: now[0])
    while not rates.seconds_to_wait("a", per_second):
        pass
    now[0] += rates.seconds_to_wait("a", per_second)
    assert rates.seconds_to_wait("a", per_second) == 0.0


def test_key_is_found_by_its_whole_token_alone():
    ring = KeyRing(KEYS)
    assert ring.find(TOKENS["events"]).name == "events"
    for wrong in ("", TOKENS["events"][:-1], TOKENS["events"].replace("62_", "61_"), "\u00e9"):
        assert ring.find(wrong) is None


async def _trickle(app, body: bytes, pause: float, declared: int) -> list[dict]:
    """The messages that an app sends for a body that arrives one byte at a time."""
    sent, left = [], list(body)

    async def receive() -> dict:
        await asyncio.sleep(pause)
        if not left:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": bytes([left.pop(0)]), "more_body": True}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"content-length", str(declared).encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers}
    await app(scope, receive, send)
    return sent


def test_body_that_trickles_gets_408_in_time():
    app, start = create_app(service(limits=Limits(body_seconds=0.2))), time.monotonic()
    first, *_ = asyncio.run(_trickle(app, b"x" * 100, 0.02, 100))
    assert time.monotonic() - start < 5
    assert first["status"] == 408 and (b"connection", b"close") in first["headers"]


def test_client_that_disconnects_in_its_body_gets_no_answer_and_logs_no_failure(caplog):
    sent, messages = [], [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers}
    caplog.set_level("INFO")
    asyncio.run(create_app(service())(scope, receive, send))
    assert sent == [] and [record.fields["status"] for record in caplog.records] == [499]
