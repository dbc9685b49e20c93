"""What a caller may take up: a body's size, the time it may take, requests a second."""

import asyncio

from starlette.types import Message, Receive

from serving.errors import TooLarge, TooSlow
from serving.http.limits import Limits
from serving.runtime.deadline import TimeLimit

CLOSE = {"connection": "close"}


# What is refused unread is still taken off the wire, up to here: a client that sends all of it
# before it reads would otherwise see a broken connection in place of the answer.
_MOST_DISCARDED = 64 * 1_048_576


class Gone(Exception):
    """The caller left before the body was here."""


def announced(headers: dict[bytes, bytes]) -> int | None:
    """How many bytes of body a request announces: 0 if none, None if it does not say."""
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


async def whole_body(receive: Receive, limits: Limits) -> Receive:
    """Wait for the body, and give it to the app in one piece.

    Raises TooLarge, TooSlow, and Gone if the caller left.
    """
    try:
        with TimeLimit(limits.body_seconds):
            body = await body_of(receive, limits)
    except TimeoutError as error:
        raise TooSlow(
            f"The body was not here within {limits.body_seconds:g} seconds; send it again at once.",
            CLOSE,
        ) from error
    return _again(body, receive)


async def body_of(receive: Receive, limits: Limits | None = None) -> bytes:
    """All of a body. Raises TooLarge, and Gone if the caller left."""
    parts, size, more = [], 0, True
    while more:
        part, more = await _part(receive)
        size += len(part)
        if limits is not None and size > limits.max_body_bytes:
            raise too_large(limits)
        parts.append(part)
    return b"".join(parts)


async def discard(receive: Receive, seconds: float, most: int = _MOST_DISCARDED) -> bool:
    """Take the rest of a body off the wire and keep nothing; whether that was all of it."""
    try:
        async with asyncio.timeout(seconds):
            while most >= 0:
                part, more = await _part(receive)
                most -= len(part)
                if not more:
                    return True
    except (TimeoutError, Gone):
        pass
    return False


def too_large(limits: Limits) -> TooLarge:
    """The refusal of a body above the limit."""
    return TooLarge(
        f"The body may have at most {limits.max_body_bytes} bytes; send it in smaller parts.", CLOSE
    )


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives the body once, and then what comes after it."""
    waiting = True

    async def received() -> Message:
        nonlocal waiting
        if not waiting:
            return await receive()
        waiting = False
        return {"type": "http.request", "body": body, "more_body": False}

    return received
