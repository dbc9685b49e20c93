"""Admission of requests: API key, scope, request rate and body size."""

import math
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.api_keys import Key, KeyRing
from serving.access.rate_limits import RateLimiter
from serving.errors import KeyRefused, Refusal, ScopeRefused, TooMany, TooSlow
from serving.http.bodies import (
    CLOSE_CONNECTION,
    ClientDisconnected,
    buffer_body,
    declared_length,
    discard_body,
    too_large,
)
from serving.http.limits import Limits
from serving.http.problems import refusal_answer

SCOPE_BY_PATH = {
    "/v1/recommendations": "recommend",
    "/v1/events": "events",
    "/v1/model": "admin",
    "/metrics": "admin",
}
"""The scope that a path needs. A path that is neither here nor open needs any key."""

# Orchestrators probe the first two without a key. The docs show only the contract. The registry
# signs its notices.
OPEN_PATHS = frozenset(("/healthz", "/readyz", "/docs", "/openapi.json", "/v1/registry-webhook"))
OPEN_FOLDER = "/static-offline-docs/"

_SCHEME = b"bearer "
_CHALLENGE = 'Bearer realm="clipwise"'


class KeySource(Protocol):
    """The valid API keys. ``is_required`` is true if requests need one; read it after ``current``.

    Reading the keys may find the first one, from which on requests need a key.
    """

    is_required: bool

    def current(self) -> KeyRing:
        """Returns the keys that are valid now."""
        ...


class Admission:
    """Middleware that passes a request on if its key, rate and body are accepted.

    A refusal is a problem document. The body of a refused request is never parsed.
    """

    def __init__(self, app: ASGIApp, keys: KeySource, rates: RateLimiter, limits: Limits) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            self._check_key(scope["path"], headers)
            received = await self._body(headers, receive)
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, send)
        except ClientDisconnected:
            return
        else:
            await self._app(scope, received, send)

    def _check_key(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raises KeyRefused, ScopeRefused and TooMany."""
        ring = self._keys.current()
        if not self._keys.is_required or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return
        key = _presented_key(ring, headers.get(b"authorization"))
        per_second = self._limits.per_second if key.per_second is None else key.per_second
        wait = self._rates.seconds_to_wait(key.id, per_second) if per_second else 0.0
        if wait:
            raise _too_many(per_second, wait)
        needed = SCOPE_BY_PATH.get(path)
        if not key.has_scope(needed):
            raise _scope_refused(key, needed)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Raises TooLarge, TooSlow and ClientDisconnected."""
        length = declared_length(headers)
        if length == 0:
            return receive
        if length is not None and length > self._limits.max_body_bytes:
            raise too_large(self._limits)
        return await buffer_body(receive, self._limits)

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends a refusal so that the client can read it, even while it still sends its body.

        A body within the limit is read and dropped first, and the connection stays open. For a
        larger one the answer is sent at once. The rest is dropped before the connection closes.
        """
        closing = "connection" in refusal.headers
        if not closing and declared_length(dict(scope["headers"])) != 0:
            seconds, max_bytes = self._limits.body_seconds, self._limits.max_body_bytes
            closing = not await discard_body(receive, seconds, max_bytes)
        answer = refusal_answer(refusal, CLOSE_CONNECTION if closing else {})
        if isinstance(refusal, TooSlow) or not closing:
            await answer(scope, receive, send)
            return
        await answer(scope, receive, _unfinished(send))
        await discard_body(receive, self._limits.body_seconds)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _unfinished(send: Send) -> Send:
    """Returns a ``send`` that passes on an answer's body without its end."""

    async def sent(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({**message, "more_body": True} if is_body else message)

    return sent


def _presented_key(ring: KeyRing, header: bytes | None) -> Key:
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRefused(
            "This path needs an API key; send it in the header Authorization: Bearer.",
            {"www-authenticate": _CHALLENGE},
        )
    key = ring.find(header[len(_SCHEME) :].strip().decode("latin-1"))
    if key is None:
        raise KeyRefused(
            "The API key is unknown or was revoked; request a new one from the operator.",
            {"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )
    return key


def _scope_refused(key: Key, needed: str | None) -> ScopeRefused:
    return ScopeRefused(
        f"This path needs a key with the scope {needed}; this one has {', '.join(key.scopes)}.",
        {"www-authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'},
    )


def _too_many(per_second: float, wait: float) -> TooMany:
    return TooMany(
        f"This key may make {per_second:g} requests per second; send the next one in {wait:.3f} "
        "seconds or later.",
        {"retry-after": str(math.ceil(wait))},
    )
