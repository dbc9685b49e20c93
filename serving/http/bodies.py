"""Request bodies: read within a size and a time limit, or discarded."""

import asyncio

from starlette.types import Message, Receive

from serving.errors import TooLarge, TooSlow
from serving.http.limits import Limits
from serving.runtime.deadline import TimeLimit

CLOSE_CONNECTION = {"connection": "close"}

_MAX_DISCARDED_BYTES = 64 * 1_048_576
"""Bytes of a refused body that are still read.

A client that sends its whole body before it reads would otherwise get a broken connection instead
of the answer.
"""


class ClientDisconnected(Exception):
    """The client closed the connection before its body was complete."""


def declared_length(headers: dict[bytes, bytes]) -> int | None:
    """Returns the length of the body in bytes as declared: 0 for no body, None if undeclared.

    >>> declared_length({b"content-length": b"12"}), declared_length({})
    (12, 0)
    >>> declared_length({b"transfer-encoding": b"chunked"})
    """
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


async def buffer_body(receive: Receive, limits: Limits) -> Receive:
    """Waits for the whole body and returns a ``receive`` that yields it as one message.

    Raises TooLarge, TooSlow, and ClientDisconnected.
    """
    try:
        with TimeLimit(limits.body_seconds):
            body = await read_body(receive, limits)
    except TimeoutError as error:
        raise TooSlow(
            f"The body did not arrive within {limits.body_seconds:g} seconds; send it again "
            "without pauses.",
            CLOSE_CONNECTION,
        ) from error
    return _replay(body, receive)


async def read_body(receive: Receive, limits: Limits | None = None) -> bytes:
    """Returns the whole body. Raises TooLarge and ClientDisconnected."""
    parts, size, more = [], 0, True
    while more:
        part, more = await _receive_part(receive)
        size += len(part)
        if limits is not None and size > limits.max_body_bytes:
            raise too_large(limits)
        parts.append(part)
    return b"".join(parts)


async def discard_body(
    receive: Receive, seconds: float, max_bytes: int = _MAX_DISCARDED_BYTES
) -> bool:
    """Reads and drops the rest of a body. Returns True if it reached the end within the limits."""
    try:
        async with asyncio.timeout(seconds):
            while max_bytes >= 0:
                part, more = await _receive_part(receive)
                max_bytes -= len(part)
                if not more:
                    return True
    except (TimeoutError, ClientDisconnected):
        pass
    return False


def too_large(limits: Limits) -> TooLarge:
    """Returns the refusal of a body above the limit."""
    return TooLarge(
        f"Expected a body of at most {limits.max_body_bytes} bytes; send it in smaller parts.",
        CLOSE_CONNECTION,
    )


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message.get("body", b""), message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Returns a ``receive`` that yields the body once, and then the messages after it."""
    is_pending = True

    async def received() -> Message:
        nonlocal is_pending
        if not is_pending:
            return await receive()
        is_pending = False
        return {"type": "http.request", "body": body, "more_body": False}

    return received
