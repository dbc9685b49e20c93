"""What every request passes first and every answer last: id, headers, time, log line."""

import logging
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problems import failure_answer
from serving.http.security_headers import NOTHING, POLICY, SECURITY
from serving.telemetry.logs import REQUEST_ID_HEADER, begin_request
from serving.telemetry.metrics import Metrics
from serving.telemetry.traces import Traces

log = logging.getLogger(__name__)

_ID = REQUEST_ID_HEADER.encode()

# What nginx calls a client that closed its connection before there was an answer.
_CLIENT_LEFT = 499


class Instrumentation:
    """Names, times, counts and logs each request, and seals its answer.

    ``paths`` are those of the routes: no other is ever written down, since it may hold anything.
    Whatever fails inside becomes a problem document and one line in the log.
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
        begun = self._timer()
        headers = dict(scope["headers"])
        answer = _Sealed(send, begin_request(headers.get(_ID)))
        path, method = scope["path"], scope["method"]
        route = path if path in self._paths else "unknown"
        try:
            if self._traces is None:
                await self._answer(scope, receive, answer)
            else:
                await self._traced(scope, receive, answer, route, headers)
        finally:
            self._note(method, route, answer.status, self._timer() - begun)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Sealed") -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            log.error("a request failed", exc_info=error)
            if not answer.started:
                await failure_answer()(scope, receive, answer.send)

    async def _traced(
        self,
        scope: Scope,
        receive: Receive,
        answer: "_Sealed",
        route: str,
        headers: dict[bytes, bytes],
    ) -> None:
        with self._traces.request(scope["method"], route, headers, answer.request_id) as span:
            await self._answer(scope, receive, answer)
            self._traces.answered(span, answer.status)

    def _note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._metrics.request(route, status, seconds)
        milliseconds = round(1000 * seconds, 3)
        fields = {"method": method, "route": route, "status": status, "ms": milliseconds}
        log.info("answered", extra={"fields": fields})


class _Sealed:
    """Sends an answer with the request's id and the security headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.started = False
        self.status = _CLIENT_LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = [*message.get("headers", ()), *SECURITY]
            headers.append((_ID, self.request_id.encode()))
            if not any(name == POLICY for name, _ in headers):
                headers.append(NOTHING)
            message = {**message, "headers": headers}
        await self._send(message)
