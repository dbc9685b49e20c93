"""Mutants of valid requests, to send to a service that must not fail on them."""

import http.client
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

HOSTILE = (
    *(None, True, "", " ", "\x00", "é", "a" * 10_000, [], {}, [[]], -1, 0, 0.5, 10**30, -(10**400)),
    *(1e308, float("nan"), float("inf"), 2**63, 101, "home", "NaN", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00+23:59", "2017-12-31", "2017-12-31T00:00:00", "1e5", "\ud800", "'--"),
    [{"product_id": "1", "quantity": 1e6, "unit_price": 1e9}] * 500,
)
RAW = (b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b"1", b'""', b"[]" * 9)
KINDS = ("text/plain", "application/json; charset=utf-16", "", "x", "application/xml", "\xe9")
METHODS = ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE")
PATHS = ("/", "//", "/%2e%2e", "/v1/%00", "/v1/recommendations/", "/V1/EVENTS", "/x?" + "y" * 5_000)


@dataclass(frozen=True)
class Request:
    """A request as it is sent, without its framing."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def mutants(request: Request, chance: random.Random, count: int) -> Iterator[Request]:
    """Yields requests that differ in a value, a byte, a header, the method or the path."""
    for _ in range(count):
        yield chance.choice((_value, _value, _value, _bytes, _envelope))(request, chance)


def _value(request: Request, chance: random.Random) -> Request:
    try:
        content = json.loads(request.body)
    except ValueError:
        return _bytes(request, chance)
    places = list(_places(content))
    if not places:
        return _bytes(request, chance)
    holder, place = chance.choice(places)
    action = chance.randrange(4)
    if action == 0:
        del holder[place]
    elif action == 1 and isinstance(holder, dict):
        holder[chance.choice(("k", "events", "as_of", "cart", "surprise"))] = holder.pop(place)
    else:
        holder[place] = chance.choice(HOSTILE)
    return Request(request.method, request.path, json.dumps(content).encode())


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every place of a JSON document: a container and an index or key in it."""
    if not isinstance(content, dict | list):
        return
    for place, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, place
        yield from _places(value)


def _bytes(request: Request, chance: random.Random) -> Request:
    body = bytearray(request.body)
    if not body or chance.random() < 0.05:
        return Request(request.method, request.path, chance.choice(RAW))
    at = chance.randrange(len(body))
    action = chance.randrange(3)
    if action == 0:
        body[at] = chance.randrange(256)
    elif action == 1:
        del body[at:]
    else:
        body[at:at] = chance.randbytes(chance.randrange(1, 20))
    return Request(request.method, request.path, bytes(body))


def _envelope(request: Request, chance: random.Random) -> Request:
    action = chance.randrange(4)
    if action == 0:
        return Request(chance.choice(METHODS), request.path, request.body)
    if action == 1:
        return Request(request.method, chance.choice(PATHS), request.body)
    name = chance.choice(("content-type", "content-encoding", "x-request-id", "traceparent"))
    headers = {"content-type": "application/json", name: chance.choice(KINDS)}
    return Request(request.method, request.path, request.body, headers)


class Sender:
    """Sends requests over one connection, counts the statuses, and keeps the failed requests."""

    def __init__(self, url: str, token: str) -> None:
        self._netloc, self._token = urlsplit(url).netloc, token
        self._connection = http.client.HTTPConnection(self._netloc, timeout=30)
        self.statuses: Counter[int] = Counter()
        self.failed: list[tuple[int, Request]] = []

    def send(self, request: Request) -> None:
        """Sends a request. A status from 500 on, or no answer, is a failure."""
        status = self._status(request)
        self.statuses[status] += 1
        if not 200 <= status < 500:
            self.failed.append((status, request))

    def _status(self, request: Request) -> int:
        headers = {"authorization": f"Bearer {self._token}"} | request.headers
        coded = {name: value.encode("latin-1") for name, value in headers.items()}
        try:
            self._connection.request(request.method, request.path, request.body, coded)
            answer = self._connection.getresponse()
            answer.read()
            return answer.status
        except (http.client.HTTPException, OSError):
            self._connection.close()
            return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
