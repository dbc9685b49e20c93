"""Uvicorn's HTTP protocol with limits: slow heads, large heads and unread answers.

Uvicorn alone waits forever for the rest of a request's head, for a head of any size, and for a
client that stops reading. (``bodies`` limits the time of a body.) Uvicorn also drops the body of a
request that offers another protocol, as the Java HTTP client does in the first request of each
connection.
"""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.limits import Limits
from serving.http.problems import PROBLEM_JSON, problem
from serving.http.security_headers import SECURITY_HEADERS, STRICTEST_POLICY
from serving.telemetry.logs import REQUEST_ID_HEADER, new_id

log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 65_536
_STATUS_LINE = b"HTTP/1.1 "

_UPGRADE_HEADERS = frozenset((b"connection", b"upgrade", b"http2-settings"))
"""Headers by which a request offers to continue in another protocol."""


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with the limits of its ``BoundedConfig``.

    A request whose head arrives in one piece, as nearly all do, starts no timer.
    """

    config: "BoundedConfig"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits = self.config.limits
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower than asyncio's type, like uvicorn's
        joining = _JoiningTransport(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, joining))
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        is_head = self._is_between_requests() or not self.cycle.more_body
        self._parse(data)
        if not is_head or self.cycle is not before:
            self._head_bytes = 0
            self._stop_head_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(
                431, f"Expected a head of at most {_MAX_HEAD_BYTES} bytes; send fewer headers."
            )
        elif self._head_timer is None:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            seconds = self.limits.write_seconds
            self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _parse(self, data: bytes) -> None:
        """Parses data as uvicorn does, but declines an offer of another protocol."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError as error:
                self.send_400_response(str(error))
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]

    def _should_upgrade(self) -> bool:
        """True if uvicorn must ignore this head, because it is parsed again without the offer."""
        return self.scope["method"] != "CONNECT"

    def _head_without_upgrade(self) -> bytes:
        """Returns the parsed head without its offer, and starts a new parser for it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        is_last = not self.parser.should_keep_alive()
        kept = [(name, value) for name, value in self.headers if name not in _UPGRADE_HEADERS]
        kept += [(b"connection", b"close")] if is_last else []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return _head(b"%b %b HTTP/%b" % (method, self.url, version), kept)

    def send_400_response(self, msg: str) -> None:
        """Answers data that is not HTTP with a problem document, like every other error."""
        self._refuse(400, "Expected an HTTP request, got other data; send HTTP.")

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_sending_answer(self) -> bool:
        if self.pipeline:
            return True
        return not self._is_between_requests() and self.cycle.response_started

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._on_head_timeout)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        if not self._is_between_requests():
            return
        if not self._head_bytes:
            self.transport.close()
        else:
            seconds = self.limits.head_seconds
            self._refuse(408, f"The head did not arrive within {seconds:g} seconds; send it again.")

    def _refuse(self, status: int, detail: str) -> None:
        """Sends a problem document although there is no complete request, and closes."""
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        if self._is_sending_answer():
            # A problem document must not land inside another answer.
            self.transport.abort()
            return
        name = new_id()
        log.info(
            "a connection sent no request", extra={"fields": {"request_id": name, "status": status}}
        )
        self.transport.write(_answer(status, problem(status, detail), name))
        self.transport.close()


class _JoiningTransport:
    """A transport that joins the head of an answer with its body in one write.

    Uvicorn writes them separately, and the second write costs as much as the first. If no body
    follows in the same turn of the event loop, the head is sent alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head is not None:
            data, self._head = self._head + data, None
        elif data.startswith(_STATUS_LINE):
            self._head = data
            self._loop.call_soon(self._send_head)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)


def _answer(status: int, body: bytes, request_id: str) -> bytes:
    headers = (
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
        STRICTEST_POLICY,
        (REQUEST_ID_HEADER.encode(), request_id.encode()),
    )
    phrase = HTTPStatus(status).phrase.encode()
    return _head(b"HTTP/1.1 %d %b" % (status, phrase), headers) + body


def _head(first: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n".join([first, *(b": ".join(one) for one in headers), b"", b""])


class BoundedConfig(Config):
    """Uvicorn's configuration, with ``limits`` for each connection."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(app, http=BoundedProtocol, **options)
        self.limits = limits
