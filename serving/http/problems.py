"""Turns everything that goes wrong into a problem document."""

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.errors import InvalidRequest, Refusal, ServingError

PROBLEM_JSON = "application/problem+json"


def problem(
    status: int,
    detail: str,
    slug: str | None = None,
    title: str | None = None,
    errors: Iterable[dict[str, str]] | None = None,
) -> bytes:
    """A problem document as ASCII JSON, so that no character a client sends can break it.

    Without a ``slug`` the status says it all and the type is ``about:blank``.
    """
    document: dict[str, object] = {
        "type": f"urn:clipwise:problem:{slug}" if slug else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        document["errors"] = list(errors)
    return json.dumps(document).encode("ascii")


log = logging.getLogger(__name__)


MOST_ERRORS = 100
"""Places that a problem names: beyond so many, more of them help nobody."""


_DETAILS = {
    400: "The body could not be read; send one JSON object in UTF-8.",
    404: "There is no such path; /docs lists those there are.",
    405: "This path does not take this method; the header Allow names those it takes.",
}


_SOON = {"retry-after": "1"}


def install_problems(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


def problem_answer(request: Request, error: Exception) -> Response:
    """The problem document of an error. Raises the error if it is none that has one."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(request, error)
    raise error


def refusal_answer(refusal: Refusal, more: Mapping[str, str]) -> Response:
    """The answer to a request that is turned away, with the refusal's headers and ``more``."""
    body = problem(refusal.status, str(refusal), refusal.slug, refusal.title)
    return _answer(body, refusal.status, {**refusal.headers, **more})


def failure_answer() -> Response:
    """The answer when something failed that should not: it says nothing of the cause."""
    return _answer(problem(500, "The service failed; its log has the cause."), 500)


def _answer(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers=headers, media_type=PROBLEM_JSON)


def _serving_error(request: Request, error: ServingError) -> Response:
    body = problem(error.status, str(error), error.slug, error.title)
    return _answer(body, error.status, _SOON if error.status == 503 else None)


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"location": ".".join(str(part) for part in entry["loc"]), "message": entry["msg"]}
        for entry in islice(error.errors(), MOST_ERRORS)
    ]
    detail = "The request does not follow the contract; errors names each place, /docs shows it."
    kind = InvalidRequest
    return _answer(problem(kind.status, detail, kind.slug, kind.title, errors), kind.status)


def _http_error(request: Request, error: HTTPException) -> Response:
    detail = _DETAILS.get(error.status_code, error.detail)
    return _answer(problem(error.status_code, detail), error.status_code, error.headers)


_ANSWERS = {
    ServingError: _serving_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
}
