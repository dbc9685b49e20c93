"""Who comes in: the key and its scope, how often, and with how large a body."""

import math
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.api_keys import Key, KeyRing
from serving.access.rate_limits import Rates
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

SCOPE_OF = {
    "/v1/recommendations": "recommend",
    "/v1/events": "events",
    "/v1/model": "admin",
    "/metrics": "admin",
}
"""The scope that a path asks for. A path that is neither here nor open asks for any key."""

# Orchestrators ask for the first two without a key, the pages hold nothing but the contract, and
# the registry signs what it sends.
OPEN = frozenset(("/healthz", "/readyz", "/docs", "/openapi.json", "/v1/registry-webhook"))
OPEN_FOLDER = "/static-offline-docs/"

_SCHEME = b"bearer "
_CHALLENGE = 'Bearer realm="clipwise"'


class Keys(Protocol):
    """The keys in force. ``required`` says, after ``current``, whether callers need one."""

    required: bool

    def current(self) -> KeyRing: ...


class Admission:
    """Lets a request through to ``app`` if its key, its rate and its body are in order.

    Each refusal is a problem document; what is refused is never parsed.
    """

    def __init__(self, app: ASGIApp, keys: Keys, rates: Rates, limits: Limits) -> None:
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
            self._admit(scope["path"], headers)
            received = await self._body(headers, receive)
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, send)
        except ClientDisconnected:
            return
        else:
            await self._app(scope, received, send)

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raises KeyRefused, ScopeRefused, TooMany."""
        ring = self._keys.current()
        if not self._keys.required or path in OPEN or path.startswith(OPEN_FOLDER):
            return
        key = _shown(ring, headers.get(b"authorization"))
        per_second = self._limits.per_second if key.per_second is None else key.per_second
        wait = self._rates.wait(key.id, per_second) if per_second else 0.0
        if wait:
            raise _too_many(per_second, wait)
        wanted = SCOPE_OF.get(path)
        if not key.opens(wanted):
            raise _out_of_scope(key, wanted)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Raises TooLarge, TooSlow, ClientDisconnected."""
        length = declared_length(headers)
        if length == 0:
            return receive
        if length is not None and length > self._limits.max_body_bytes:
            raise too_large(self._limits)
        return await buffer_body(receive, self._limits)

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer so that the client can read it, whatever it still has to send.

        A body within the limit is taken off the wire first, and the connection stays. Beyond it the
        answer goes out at once, and what still comes is thrown away before the connection closes.
        """
        closing = "connection" in refusal.headers
        if not closing and declared_length(dict(scope["headers"])) != 0:
            seconds, most = self._limits.body_seconds, self._limits.max_body_bytes
            closing = not await discard_body(receive, seconds, most)
        answer = refusal_answer(refusal, CLOSE_CONNECTION if closing else {})
        if isinstance(refusal, TooSlow) or not closing:
            await answer(scope, receive, send)
            return
        await answer(scope, receive, _left_open(send))
        await discard_body(receive, self._limits.body_seconds)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _left_open(send: Send) -> Send:
    """Sends an answer's body without its end."""

    async def sent(message: Message) -> None:
        more = {"more_body": True} if message["type"] == "http.response.body" else {}
        await send(message | more)

    return sent


def _shown(ring: KeyRing, header: bytes | None) -> Key:
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRefused(
            "This path needs an API key; send it in the header Authorization: Bearer.",
            {"www-authenticate": _CHALLENGE},
        )
    key = ring.holder(header[len(_SCHEME) :].strip().decode("latin-1"))
    if key is None:
        raise KeyRefused(
            "The API key is not known here, or was revoked; ask for a new one.",
            {"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )
    return key


def _out_of_scope(key: Key, wanted: str | None) -> ScopeRefused:
    return ScopeRefused(
        f"This path needs a key with the scope {wanted}; this one has {', '.join(key.scopes)}.",
        {"www-authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{wanted}"'},
    )


def _too_many(per_second: float, wait: float) -> TooMany:
    return TooMany(
        f"This key may make {per_second:g} requests a second; send the next one in {wait:.3f} "
        "seconds or later.",
        {"retry-after": str(math.ceil(wait))},
    )
