"""Middleware that names, times, logs and counts each request."""

import logging
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problems import failure_answer
from serving.http.security_headers import (
    CONTENT_SECURITY_POLICY,
    SECURITY_HEADERS,
    STRICTEST_POLICY,
)
from serving.telemetry.logs import REQUEST_ID_HEADER, begin_request
from serving.telemetry.metrics import Metrics
from serving.telemetry.traces import Traces

log = logging.getLogger(__name__)

_ID = REQUEST_ID_HEADER.encode()

_CLIENT_LEFT = 499
"""The status that nginx logs for a client that left before its answer."""


class Instrumentation:
    """Middleware that names, times, counts and logs each request, and adds the headers.

    ``paths`` are those of the routes. Any other path counts as "unknown" and is never recorded,
    because it may hold personal data. An exception inside becomes a problem document and one line
    in the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        paths: Collection[str],
        metrics: Metrics,
        timer: Callable[[], float],
        traces: Traces | None = None,
    ) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._metrics = metrics
        self._timer = timer
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = self._timer()
        headers = dict(scope["headers"])
        sender = _Sender(send, begin_request(headers.get(_ID)))
        path, method = scope["path"], scope["method"]
        route = path if path in self._paths else "unknown"
        try:
            if self._traces is None:
                await self._answer(scope, receive, sender)
            else:
                with self._traces.request(method, route, headers, sender.request_id) as span:
                    await self._answer(scope, receive, sender)
                    self._traces.set_status(span, sender.status)
        finally:
            self._record(method, route, sender.status, self._timer() - start)

    async def _answer(self, scope: Scope, receive: Receive, sender: "_Sender") -> None:
        try:
            await self._app(scope, receive, sender.send)
        except Exception as error:
            log.error("a request failed", exc_info=error)
            if not sender.has_started:
                await failure_answer()(scope, receive, sender.send)

    def _record(self, method: str, route: str, status: int, seconds: float) -> None:
        self._metrics.request(route, status, seconds)
        milliseconds = round(1000 * seconds, 3)
        fields = {"method": method, "route": route, "status": status, "ms": milliseconds}
        log.info("answered", extra={"fields": fields})


class _Sender:
    """Sends an answer with the request id and the security headers; keeps its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.has_started = False
        self.status = _CLIENT_LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            self.status = message["status"]
            headers = [*message.get("headers", ()), *SECURITY_HEADERS]
            headers.append((_ID, self.request_id.encode()))
            if not any(name == CONTENT_SECURITY_POLICY for name, _ in headers):
                headers.append(STRICTEST_POLICY)
            message = {**message, "headers": headers}
        await self._send(message)
