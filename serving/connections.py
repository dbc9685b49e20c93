"""Connections that hold the service up: closed once a head is overdue or an answer goes unread.

Uvicorn waits forever for the rest of a request's head, for a head of any size, and for a client
that stops reading. A body's time is bounded in ``serving.limits``.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serving.errors import PROBLEM_JSON, problem
from serving.settings import Limits

_MOST_HEAD_BYTES = 65_536


class BoundedProtocol(AutoHTTPProtocol):
    """Uvicorn's HTTP with ``limits`` on how long a client may take.

    A request whose head comes in one piece, as nearly all do, costs no timer.
    """

    limits = Limits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._between_requests():
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

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused by a problem document, like everything else."""
        self._refuse(400, "What came is no HTTP request; send one.")

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

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
        body = problem(status, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


def bounded_by(limits: Limits) -> type[BoundedProtocol]:
    """The protocol for uvicorn's ``http`` setting."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})
