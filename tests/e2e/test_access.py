"""Who comes in and what is seen of it: a real service with keys, from outside."""

import http.client
import json
import os
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.client import Client, Refused
from tests.support.example_shop import example_home
from tests.support.fuzzing import Request, Sender, mutants
from tests.support.processes import Running, clipwise, running

USER = "card-004"
FUZZED = int(os.environ.get("CLIPWISE_FUZZED", "2000"))
"""Number of fuzzed requests: generated from the schema, and MUTANTS mutants of each."""
MUTANTS = 49


def key(home: Path, *scopes: str, name: str = "shop", rate: float = 100_000) -> str:
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    return clipwise(
        home, "keys", "add", "--name", name, "--rate", str(rate), *wanted
    ).stdout.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A shop whose features are online."""
    return example_home(tmp_path_factory)


@pytest.fixture(scope="module")
def service(home, tmp_path_factory):
    """A service that started without a key."""
    with running(home, tmp_path_factory.mktemp("log") / "log") as service:
        yield service


def refusal(client: Client, call: Callable[[Client], object]) -> int:
    with client, pytest.raises(Refused) as raised:
        call(client)
    return raised.value.status


def recommend(client: Client):
    return client.recommend(USER, "home", k=3)


def test_without_a_key_the_service_serves_this_machine_and_no_other(home, service):
    assert not (home / "keys.json").exists()
    with service.client() as client:
        assert recommend(client).recommendations
    printed = clipwise(home, "serve", "--replay", "--host", "0.0.0.0", "--port", "0", code=1).stderr
    assert "clipwise keys add" in printed and "Traceback" not in printed


def test_taken_port_is_one_sentence(home, service):
    port = service.url.rsplit(":", 1)[1]
    printed = clipwise(home, "serve", "--replay", "--port", port, code=1).stderr
    assert f"Port {port} of 127.0.0.1 is in use" in printed and "Traceback" not in printed


def test_first_key_is_required_at_once_and_the_file_does_not_hold_it(home, service):
    token = key(home, "recommend")
    file = home / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    # A secret may itself contain the separator.
    secret = token.split("_", 2)[2]
    assert secret not in file.read_text()
    assert secret not in clipwise(home, "keys", "list").stdout
    assert refusal(service.client(), recommend) == 401
    with service.client(token) as client:
        assert recommend(client).user_id == USER
        assert client.readiness().ready
    for call in (lambda client: client.send_events([]), lambda client: client.model()):
        assert refusal(service.client(token), call) == 403


def test_events_and_the_model_page_have_scopes_of_their_own(home, service):
    event = {
        "event_id": "scope-1",
        "event_type": "view",
        "user_id": USER,
        "event_timestamp": "2025-06-30T10:00:00Z",
        "product_id": "1",
    }
    with service.client(key(home, "events", "admin")) as client:
        assert client.send_events([event, {"event_id": "scope-2"}]).rejected == 1
        assert client.send_events([event]).duplicate == 1
        assert client.model().rankers["home"].feature_service == "home_ranker_v1"


def test_key_is_replaced_under_load_and_no_request_fails(home, service):
    old = key(home, "recommend", name="old")
    current, stop, failures, answers = [old], threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                with service.client(current[0], attempts=1) as client:
                    for _ in range(20):
                        recommend(client)
                        answers[0] += 1
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    current[0] = new = key(home, "recommend", name="new")
    time.sleep(2)
    clipwise(home, "keys", "revoke", old.split("_")[1])
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and answers[0] > 100
    assert refusal(service.client(old), recommend) == 401
    with service.client(new) as client:
        recommend(client)


def test_rate_of_a_key_is_held_and_the_client_waits_for_it(home, service):
    slow = key(home, "recommend", name="slow", rate=2)
    with service.client(slow, attempts=1) as client, pytest.raises(Refused) as raised:
        for _ in range(10):
            recommend(client)
    assert raised.value.status == 429
    with service.client(slow) as client:
        assert [recommend(client).user_id for _ in range(4)] == [USER] * 4


def test_broken_key_file_changes_nothing(home, service):
    token, file = key(home, "recommend", name="kept"), home / "keys.json"
    sound = file.read_text()
    with service.client(token) as client:
        recommend(client)
        file.write_text("{")
        recommend(client)
        assert refusal(service.client("clipwise_0"), recommend) == 401
        assert "restore the file" in clipwise(home, "keys", "list", code=1).stderr
        file.write_text(sound)
        recommend(client)


def test_losing_the_key_file_does_not_open_the_service(home, service):
    token, file = key(home, "recommend", name="lost"), home / "keys.json"
    sound = file.read_text()
    file.unlink()
    assert refusal(service.client(), recommend) == 401
    assert refusal(service.client(token), recommend) == 401
    file.write_text(sound)
    with service.client(token) as client:
        recommend(client)


def test_request_keeps_its_name_from_the_client_to_the_log(home, service):
    with service.client(key(home, "recommend", name="named")) as client:
        answer = client.recommend(USER, "home", request_id="shop-17.a")
        assert answer.request_id == "shop-17.a"
    time.sleep(0.5)
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "shop-17.a"]
    assert (line["route"], line["status"]) == ("/v1/recommendations", 200) and line["ms"] > 0


def test_metrics_show_the_stages_and_no_user(home, service):
    token = key(home, "admin", name="prometheus")
    request = urllib.request.Request(
        f"{service.url}/metrics", headers={"authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    for stage in ("read_user", "rules", "features", "score", "rank", "answer", "log"):
        assert f'clipwise_stage_seconds_count{{stage="{stage}"}}' in text
    for name in ("candidates_count", "model_info", "model_swaps_total", "decisions_dropped_total"):
        assert f"clipwise_{name}" in text
    assert "card-" not in text and "card-" not in service.log.read_text()


def fuzz(service: Running, sender: Sender, token: str) -> None:
    """Sends what schemathesis generates for each POST, and mutants of each request."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from schemathesis.specs.openapi import checks

    wanted_checks = [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    posts = [one for one in operations if one.method.upper() == "POST"]
    chance = random.Random(2017)

    def send(case) -> None:
        answer = case.call(headers={"authorization": f"Bearer {token}"})
        sender.statuses[answer.status_code] += 1
        case.validate_response(answer, checks=wanted_checks)
        body = answer.request.body or b""
        body = body.encode() if isinstance(body, str) else body
        sound = Request(case.method.upper(), case.operation.path, body)
        for mutant in mutants(sound, chance, MUTANTS):
            sender.send(mutant)

    chosen = settings(
        max_examples=max(1, FUZZED // ((1 + MUTANTS) * len(modes) * len(posts))),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for operation in posts:
        for mode in modes:
            seed(2017)(chosen(given(operation.as_strategy(generation_mode=mode))(send)))()


def test_malformed_or_too_large_request_is_refused_by_the_service_itself(service):
    netloc = service.url.removeprefix("http://")
    host, port = netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"HELO shop\r\n\r\n")
        assert b"application/problem+json" in raw.recv(65_536)
    connection = http.client.HTTPConnection(netloc, timeout=20)
    connection.request("POST", "/v1/registry-webhook", body=b"x" * 50 * 1_048_576)
    answer = connection.getresponse()
    assert answer.status == 413 and json.load(answer)["type"].endswith("too-large")
    connection.close()


def test_fuzzed_requests_never_make_the_service_fail(home, service):
    token = key(home, "recommend", "events", "admin", name="fuzz")
    with Sender(service.url, token) as sender:
        fuzz(service, sender, token)
    print(f"{sum(sender.statuses.values())} requests: {dict(sender.statuses)}")
    assert not sender.failed
    with service.client(token) as client:
        assert recommend(client).recommendations
    assert '"level": "error"' not in service.log.read_text()
