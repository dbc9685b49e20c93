"""A small load on a service, and its answers with their times."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Self

import httpx

DEGRADED = "X-Clipwise-Degraded"
LONGEST_SECONDS = 20.0


class Answer(NamedTuple):
    """An answer to ``user_id``, or the error of the connection."""

    at: float
    seconds: float
    user_id: str
    status: int | None
    lacks: tuple[str, ...] = ()
    cold_start: bool | None = None
    error: str = ""


class Load:
    """Sends requests for one user after the other from several threads, until the block ends."""

    def __init__(self, url: str, users: Sequence[str], threads: int = 4) -> None:
        self.answers: list[Answer] = []
        self._url = f"{url}/v1/recommendations"
        self._users = itertools.cycle(users)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def since(self, at: float, until: float = float("inf")) -> list[Answer]:
        """The answers to requests sent in ``[at, until)``, in seconds of ``time.monotonic``."""
        return [one for one in list(self.answers) if at <= one.at < until]

    def _run(self) -> None:
        with httpx.Client(timeout=LONGEST_SECONDS, trust_env=False) as client:
            while not self._stop.is_set():
                with self._lock:
                    user = next(self._users)
                self.answers.append(send(client, self._url, user))
                time.sleep(0.01)


def send(client: httpx.Client, url: str, user: str) -> Answer:
    """Sends one request and returns its answer or error."""
    body = {"user_id": user, "placement": "home", "k": 3, "cart": [], "explain": False}
    begun = time.monotonic()
    try:
        answer = client.post(url, json=body)
    except httpx.TransportError as error:
        return Answer(begun, time.monotonic() - begun, user, None, error=repr(error))
    took = time.monotonic() - begun
    lacks = tuple(filter(None, answer.headers.get(DEGRADED, "").split(", ")))
    document = answer.json()
    found = (document.get("cold_start"), document.get("detail", ""))
    return Answer(begun, took, user, answer.status_code, lacks, *found)


def summary(answers: Sequence[Answer]) -> str:
    """The answers counted by kind, and the longest wait."""
    kinds = Counter((one.status, one.lacks) for one in answers)
    worst = max((one.seconds for one in answers), default=0.0)
    return f"{len(answers)} answers, the slowest after {worst:.2f} s: {dict(kinds)}"
