"""Connections that hold the service up: closed once a head is overdue or an answer goes unread.

Uvicorn waits forever for the rest of a request's head, for a head of any size, and for a client
that stops reading. A body's time is bounded in ``serving.limits``. It also throws away the body of
a request that offers to go on in another protocol, as Java's own client does of every first one.
"""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.limits import Limits
from serving.http.problems import PROBLEM_JSON, problem
from serving.http.security_headers import NOTHING, SECURITY
from serving.telemetry.logs import REQUEST_ID_HEADER, new_id

log = logging.getLogger(__name__)

_MOST_HEAD_BYTES = 65_536
_STATUS_LINE = b"HTTP/1.1 "

_OFFER = frozenset((b"connection", b"upgrade", b"http2-settings"))
"""The headers by which a request offers another protocol."""


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, bounded by the limits of its ``BoundedConfig``.

    A request whose head comes in one piece, as nearly all do, costs no timer.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits: Limits = self.config.limits
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(_WholeAnswers(transport, self.loop))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before, in_head = self.cycle, self._between_requests() or not self.cycle.more_body
        self._parse(data)
        if not in_head or self.cycle is not before:
            self._head_bytes = 0
            self._stop_head_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(431, f"The head may have at most {_MOST_HEAD_BYTES} bytes.")
        elif self._head_timer is None:
            self._await_head()

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
        """What uvicorn does with data, but an offer of another protocol is not taken up."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError as error:
                self.send_400_response(str(error))
                return
            except httptools.HttpParserUpgrade as offered:
                data = self._without_offer() + data[offered.args[0] :]

    def _should_upgrade(self) -> bool:
        """Whether uvicorn is to leave a head alone, as it comes again without the offer."""
        return self.scope["method"] != "CONNECT"

    def _without_offer(self) -> bytes:
        """The head that was just read as one that offers nothing, for a new parser."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        last = not self.parser.should_keep_alive()
        kept = [(name, value) for name, value in self.headers if name not in _OFFER]
        kept += [(b"connection", b"close")] if last else []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return _head(b"%b %b HTTP/%b" % (method, self.url, version), kept)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused by a problem document, like everything else."""
        self._refuse(400, "What came is no HTTP request; send one.")

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _answering(self) -> bool:
        if self.pipeline:
            return True
        return not self._between_requests() and self.cycle.response_started

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_overdue)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_overdue(self) -> None:
        self._head_timer = None
        if not self._between_requests():
            return
        if not self._head_bytes:
            self.transport.close()
        else:
            seconds = self.limits.head_seconds
            self._refuse(408, f"The request's head was not here within {seconds:g} seconds.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer without a request to answer, and close."""
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        if self._answering():
            # Nothing may stand within an answer that is on its way.
            self.transport.abort()
            return
        name = new_id()
        log.info("no request came", extra={"fields": {"request_id": name, "status": status}})
        self.transport.write(_answer(status, problem(status, detail), name))
        self.transport.close()


class _WholeAnswers:
    """A transport that sends the head of an answer with what follows it.

    Uvicorn writes them one after the other, and the second write costs as much as the first. A
    head that nothing follows in the same turn of the event loop goes out alone.
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
        *SECURITY,
        NOTHING,
        (REQUEST_ID_HEADER.encode(), request_id.encode()),
    )
    phrase = HTTPStatus(status).phrase.encode()
    return _head(b"HTTP/1.1 %d %b" % (status, phrase), headers) + body


def _head(first: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n".join([first, *(b": ".join(one) for one in headers), b"", b""])


class BoundedConfig(Config):
    """Uvicorn's configuration of a server whose connections are bounded by ``limits``."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(app, http=BoundedProtocol, **options)
        self.limits = limits
