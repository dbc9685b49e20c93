"""Problem documents (RFC 9457) for every error."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.errors import InvalidRequest, Refusal, ServingError

PROBLEM_JSON = "application/problem+json"

MAX_ERRORS = 100
"""Most places that one problem lists; a longer list helps no reader."""

_DETAILS = {
    400: "The body could not be read; send one JSON object in UTF-8.",
    404: "This path does not exist; /docs lists the paths.",
    405: "This path does not accept this method; the header Allow lists the methods.",
}

_RETRY_SOON = {"retry-after": "1"}


def problem(
    status: int,
    detail: str,
    slug: str | None = None,
    title: str | None = None,
    errors: Iterable[dict[str, str]] | None = None,
) -> bytes:
    """Returns a problem document as ASCII JSON, so that no character of a client can break it.

    Without a ``slug`` the type is ``about:blank``: the status alone is the kind of problem.

    >>> problem(404, "No such path.")
    b'{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No such path."}'
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


def install_problems(app: FastAPI) -> None:
    """Makes the app answer every error with a problem document."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


def problem_answer(request: Request, error: Exception) -> Response:
    """Returns the problem document of an error. Raises the error again if it has none."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(request, error)
    raise error


def refusal_answer(refusal: Refusal, more: Mapping[str, str]) -> Response:
    """Returns the answer to a refused request, with the refusal's headers and ``more`` headers."""
    body = problem(refusal.status, str(refusal), refusal.slug, refusal.title)
    return _answer(body, refusal.status, {**refusal.headers, **more})


def failure_answer() -> Response:
    """Returns the answer to a request that failed unexpectedly; it hides the cause."""
    return _answer(problem(500, "The service failed; its log states the cause."), 500)


def _answer(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers=headers, media_type=PROBLEM_JSON)


def _serving_error(request: Request, error: ServingError) -> Response:
    body = problem(error.status, str(error), error.slug, error.title)
    return _answer(body, error.status, _RETRY_SOON if error.status == 503 else None)


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"location": ".".join(str(part) for part in entry["loc"]), "message": entry["msg"]}
        for entry in islice(error.errors(), MAX_ERRORS)
    ]
    detail = "The request does not follow the contract in /docs; errors lists each wrong place."
    kind = InvalidRequest
    return _answer(problem(kind.status, detail, kind.slug, kind.title, errors), kind.status)


def _http_error(request: Request, error: HTTPException) -> Response:
    detail = _DETAILS.get(error.status_code, error.detail)
    return _answer(problem(error.status_code, detail), error.status_code, error.headers)


# Each handler gets the errors of its own class alone.
_ANSWERS: Mapping[type[Exception], Callable[[Request, Any], Response]] = {
    ServingError: _serving_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
}
