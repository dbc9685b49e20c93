"""A route that skips FastAPI's layers: the body's bytes are validated while they are parsed.

FastAPI parses the JSON to Python objects, resolves the endpoint's arguments, and then validates
them. That takes longer than the rules of a recommendation. The API page still shows the route.
"""

from email.message import Message
from functools import cached_property
from typing import Any, cast

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.bodies import ClientDisconnected, read_body
from serving.http.problems import problem_answer

_JSON = "application/json"


class DirectRoute(APIRoute):
    """A route whose endpoint has the body as its one argument, and returns the response.

    The argument is a pydantic model.
    """

    methods: set[str]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        try:
            body = await read_body(receive)
        except ClientDisconnected as error:
            raise HTTPException(400) from error
        answer = await self.endpoint(parse_body(self._model, content_type(scope), body))
        await answer(scope, receive, send)

    @cached_property
    def _model(self) -> type[BaseModel]:
        return cast(type[BaseModel], self.dependant.body_params[0].field_info.annotation)


class RouterBypass:
    """Sends requests of one route straight to it, and all others to ``app``."""

    def __init__(self, app: ASGIApp, route: DirectRoute) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._matches(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._route.handle(scope, receive, send)
        except Exception as error:
            answer = problem_answer(Request(scope), error)
            await answer(scope, receive, send)

    def _matches(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != self._route.path:
            return False
        return scope["method"] in self._route.methods


def content_type(scope: Scope) -> str | None:
    """Returns the content type of a request, as sent."""
    found = next((value for name, value in scope["headers"] if name == b"content-type"), None)
    return None if found is None else found.decode("latin-1")


def parse_body(model: type[BaseModel], kind: str | None, body: bytes) -> BaseModel:
    """Parses and validates a body of the content type ``kind``.

    Raises RequestValidationError, and HTTPException 400 for a body that is not UTF-8.
    """
    if not body:
        raise _invalid("missing", "Field required")
    if kind != _JSON and not _is_json(kind):
        raise _invalid("content_type", f"Expected the content type {_JSON}, got {kind}")
    try:
        return model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        _require_utf8(body)
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [{**one, "loc": ("body", *one["loc"])} for one in found]
        raise RequestValidationError(errors) from error


def _require_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400) from error


def _is_json(content_type: str | None) -> bool:
    message = Message()
    message["content-type"] = content_type or ""
    kind = message.get_content_subtype()
    is_application = message.get_content_maintype() == "application"
    return is_application and (kind == "json" or kind.endswith("+json"))


def _invalid(kind: str, message: str) -> RequestValidationError:
    error: dict[str, Any] = {"type": kind, "loc": ("body",), "msg": message}
    return RequestValidationError([error])
