"""What a shop gets while something that the service stands on is slow, hangs or is gone."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.load import DEGRADED, Answer, Load, send, summary
from tests.support.places import ROOT
from tests.support.processes import Running, clipwise, running

ROUNDS = int(os.environ.get("CLIPWISE_FAULT_ROUNDS", "1"))
"""Number of times that each fault happens."""
KNOWN = [f"card-{number:03}" for number in range(1, 9)]
NEW_USER = "card-020"
UNKNOWN_USERS = ["unknown-1", "unknown-2"]
DOWN = "online-store"
DEADLINE = 2.0
SHORT_DEADLINE = 0.5
MARGIN = 1.0
"""Seconds that two busy cores may add to a deadline."""
STARTS_SECONDS = 180
"""A worker imports for 10 seconds on quiet cores, and up to 80 on busy ones."""


class OwnRedis:
    """A Redis with its data in a folder, which is killed and started again on one port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen | None = None

    @property
    def environ(self) -> dict[str, str]:
        file = str(ROOT / "infra/feature_store.redis.yaml")
        return {"FEAST_FS_YAML_FILE_PATH": file, "REDIS_CONNECTION": f"127.0.0.1:{self.port}"}

    def start(self) -> None:
        options = f"--bind 127.0.0.1 --appendonly yes --dir {self._folder} --port {self.port}"
        command = ["redis-server", *options.split(), "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: self._ping() == "PONG", "Redis answers", 10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)

    def pause(self, seconds: float) -> None:
        """Lets Redis answer nothing for some seconds."""
        self._command("CLIENT", "PAUSE", str(round(1000 * seconds)))

    def _ping(self) -> str:
        return self._command("PING")

    def _command(self, *words: str) -> str:
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()


def until(true: Callable[[], object], what: str, seconds: float) -> float:
    """Waits until something is true; returns the seconds that took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    redis = OwnRedis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory, redis):
    """A shop whose features are in Redis."""
    home = tmp_path_factory.mktemp("home")
    clipwise(home, "ingest", "--source", "files", "--path", "tests/example", **redis.environ)
    clipwise(home, "materialize", **redis.environ)
    return home


@pytest.fixture(scope="module")
def service(home, redis, tmp_path_factory):
    """A service that started while Redis was down."""
    redis.kill()
    log = tmp_path_factory.mktemp("log") / "log"
    with running(home, log, **redis.environ) as service:
        answer = get(service, "/readyz")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answered(service).status == 503
        redis.start()
        until(lambda: get(service, "/readyz").status_code == 200, "ready after Redis came", 30)
        yield service


def get(service: Running, path: str) -> httpx.Response:
    return httpx.get(f"{service.url}{path}", timeout=10, trust_env=False)


def answered(service: Running, user: str = KNOWN[0]) -> Answer:
    with httpx.Client(timeout=20, trust_env=False) as client:
        return send(client, f"{service.url}/v1/recommendations", user)


def counted(service: Running) -> Counter[str]:
    """The counters of degraded answers, by kind."""
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    pairs = re.findall(r'^clipwise_degraded_total\{kind="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return Counter({kind: int(float(value)) for kind, value in pairs})


def assert_sound(answers: list[Answer]) -> None:
    """Every request was answered within its deadline, and no user got another user's features."""
    failed = [one for one in answers if one.status != 200]
    assert answers and not failed, failed[:3]
    assert max(one.seconds for one in answers) < DEADLINE + MARGIN, summary(answers)
    for one in answers:
        if DOWN not in one.lacks:
            assert one.cold_start == (one.user_id in UNKNOWN_USERS), one
        elif one.user_id in UNKNOWN_USERS:
            assert one.cold_start, one


def whole_again(load: Load) -> float:
    """Waits until a known user gets a whole answer; returns the seconds that took."""
    begun = time.monotonic()
    return until(
        lambda: any(DOWN not in one.lacks for one in load.since(begun)), "whole answers", 15
    )


def test_prefetched_user_is_known_at_the_first_request_though_redis_is_gone(service, redis):
    done = re.compile(r"prefetched [1-9]\d* users")
    until(lambda: done.search(service.log.read_text()), "users are prefetched", 30)
    redis.kill()
    try:
        first = answered(service, NEW_USER)
        assert first.lacks == (DOWN, "cached-features") and not first.cold_start, first
        assert answered(service, "unknown-3").lacks[:2] == (DOWN, "cold-start-features")
    finally:
        redis.start()
    until(lambda: not answered(service).lacks, "Redis is used again", 30)


def test_redis_is_killed_and_comes_back_under_load(service, redis):
    before = counted(service)
    with Load(service.url, [*KNOWN, *UNKNOWN_USERS]) as load:
        for _ in range(ROUNDS):
            time.sleep(1)
            redis.kill()
            gone = time.monotonic()
            time.sleep(2)
            note = get(service, "/readyz").json()["notes"]
            cold = answered(service, "unknown-4")
            back = time.monotonic()
            redis.start()
            took = whole_again(load)
            time.sleep(1)
            during = load.since(gone + DEADLINE / 10, back)
            assert during and all(DOWN in one.lacks for one in during), summary(during)
            assert any(
                "circuit breaker of the online store is open" in sentence for sentence in note
            )
            assert cold.lacks[:2] == (DOWN, "cold-start-features") and cold.cold_start
            kept = [one for one in during if one.user_id in KNOWN]
            assert all("cached-features" in one.lacks for one in kept)
    print(f"whole again after {took:.1f} s; {summary(load.answers)}")
    assert_sound(load.answers)
    assert DOWN not in answered(service).lacks
    assert not any("online store" in one for one in get(service, "/readyz").json()["notes"])
    seen = Counter(kind for one in [*load.answers, *[cold] * ROUNDS] for kind in one.lacks)
    assert counted(service) - before == seen


def test_redis_answers_after_two_seconds(service, redis):
    with Load(service.url, [*KNOWN, *UNKNOWN_USERS]) as load:
        for _ in range(ROUNDS):
            time.sleep(1)
            paused = time.monotonic()
            redis.pause(2.0)
            time.sleep(2.0)
            during = load.since(paused + 0.2, paused + 1.8)
            took = whole_again(load)
            time.sleep(0.5)
            assert during and all(DOWN in one.lacks for one in during), summary(during)
    print(f"whole again after {took:.1f} s; {summary(load.answers)}")
    assert_sound(load.answers)


def test_each_degradation_is_in_the_header_and_counted(service):
    before = counted(service)
    body = {"user_id": "unknown-5", "placement": "home", "k": 3, "explain": False}
    line = {"product_id": "no such product", "quantity": 1, "unit_price": 100}
    late = {"as_of": "2030-01-01T00:00:00Z"}
    path = f"{service.url}/v1/recommendations"
    for more in ({"cart": [line]}, {"cart": []} | late):
        answer = httpx.post(path, json=body | more, timeout=10, trust_env=False)
        assert answer.status_code == 200
        lacks = answer.headers[DEGRADED].split(", ")
        assert "unknown-user" in lacks
        if "as_of" in more:
            assert {"stale-features", "no-candidates"} <= set(lacks)
            assert answer.json()["recommendations"] == [] and answer.json()["reason"]
        else:
            assert "unknown-product" in lacks and answer.json()["recommendations"]
    expected = {"unknown-user": 2, "unknown-product": 1, "stale-features": 1, "no-candidates": 1}
    assert counted(service) - before == Counter(expected)


def test_locked_ledger_costs_the_limited_coupons_and_no_request(service):
    answered(service)
    ledger = sqlite3.connect(service.home / "ledger.db", isolation_level=None)
    with Load(service.url, KNOWN) as load:
        ledger.execute("begin immediate")
        locked = time.monotonic()
        time.sleep(3)
        alive = get(service, "/healthz").elapsed.total_seconds()
        ledger.execute("rollback")
        until(lambda: not answered(service).lacks, "whole answers", 15)
    ledger.close()
    print(summary(load.answers))
    assert_sound(load.answers)
    assert any("ledger" in one.lacks for one in load.since(locked)) and alive < MARGIN


def workers(service: Running) -> set[int]:
    """The process ids of the workers."""
    children = Path(f"/proc/{service.process_id}/task/{service.process_id}/children").read_text()
    return {
        int(child)
        for child in children.split()
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    }


def started(service: Running) -> int:
    """The number of workers that became ready so far."""
    return service.log.read_text().count("Application startup complete")


def is_complete(service: Running, workers: int) -> bool:
    return started(service) >= workers


@pytest.fixture(scope="module")
def pair(home, redis, service, tmp_path_factory):
    """Two workers with a deadline of half a second."""
    log = tmp_path_factory.mktemp("log") / "log"
    environ = redis.environ | {"CLIPWISE_DEADLINE_SECONDS": str(SHORT_DEADLINE)}
    with running(home, log, "--workers", "2", **environ) as pair:
        until(partial(is_complete, pair, 2), "both workers", 90)
        yield pair


def test_killed_worker_is_replaced_and_only_what_it_held_is_lost(pair):
    threads = 4
    with Load(pair.url, KNOWN, threads) as load:
        for _ in range(ROUNDS):
            time.sleep(1)
            before, complete = workers(pair), started(pair)
            assert len(before) == 2
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            took = until(partial(is_complete, pair, complete + 1), "a worker", STARTS_SECONDS)
            assert len(workers(pair)) == 2 and victim not in workers(pair)
            lost = [one for one in load.since(killed - DEADLINE) if one.status is None]
            assert len(lost) <= threads, summary(load.answers)
            settled = time.monotonic()
            time.sleep(2)
            assert all(one.status == 200 for one in load.since(settled))
    print(f"replaced after {took:.1f} s; {summary(load.answers)}")
    refused = [one for one in load.answers if one.status not in (200, None)]
    assert all(one.status == 503 and "seconds" in one.error for one in refused), refused[:3]


def test_answer_that_takes_too_long_is_a_problem_within_the_deadline(pair):
    ledger = sqlite3.connect(pair.home / "ledger.db", isolation_level=None)
    ledger.execute("begin immediate")
    body = {"user_id": KNOWN[0], "placement": "home", "k": 3, "cart": [], "explain": False}
    named = {"X-Request-ID": "too-late"}
    try:
        path = f"{pair.url}/v1/recommendations"
        answer = httpx.post(path, json=body, headers=named, timeout=10, trust_env=False)
    finally:
        ledger.execute("rollback")
        ledger.close()
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert answer.json()["type"].endswith("out-of-time")
    assert answer.elapsed.total_seconds() < SHORT_DEADLINE + MARGIN
    until(lambda: answered(pair).status == 200, "answers", 15)
