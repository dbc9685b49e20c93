"""Turns everything that goes wrong in the app into a problem document, and bounds a body's size."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import PROBLEM_JSON, ServingError, problem

log = logging.getLogger(__name__)

_DETAILS = {
    400: "The body could not be read; send one JSON object in UTF-8.",
    404: "There is no such path; /docs lists those there are.",
    405: "This path does not take this method; the header Allow names those it takes.",
}


def install_problems(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _answer(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers=headers, media_type=PROBLEM_JSON)


def _serving_error(request: Request, error: ServingError) -> Response:
    body = problem(error.status, str(error), error.slug, error.title)
    return _answer(body, error.status)


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"location": ".".join(str(part) for part in entry["loc"]), "message": entry["msg"]}
        for entry in error.errors()
    ]
    detail = "The request does not follow the contract; errors names each place, /docs shows it."
    return _answer(problem(422, detail, "invalid-request", "Invalid request", errors), 422)


def _http_error(request: Request, error: HTTPException) -> Response:
    detail = _DETAILS.get(error.status_code, error.detail)
    return _answer(problem(error.status_code, detail), error.status_code, error.headers)


def _unexpected(request: Request, error: Exception) -> Response:
    return _answer(problem(500, "The service failed; its log has the cause."), 500)


class BodyLimit:
    """Refuses a body of more than ``limit`` bytes with 413, announced or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._announced(scope) > self._limit:
            body = problem(413, self._detail())
            headers = {"connection": "close"}
            await _answer(body, 413, headers)(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _detail(self) -> str:
        return f"The body may have at most {self._limit} bytes; send it in smaller parts."

    def _announced(self, scope: Scope) -> int:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, self._detail(), {"connection": "close"})
            return message

        return counted
