"""A route whose endpoint takes the body and nothing else: its bytes are checked as they are parsed.

FastAPI makes Python objects of the JSON, solves for the endpoint's arguments and checks them then,
which takes longer than a recommendation's own rules. The document at /docs is FastAPI's as ever.
"""

from email.message import Message
from functools import cached_property
from typing import Any

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
    """Gives the endpoint its one argument, a pydantic model, and sends the response it makes."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        try:
            body = await read_body(receive)
        except ClientDisconnected as error:
            raise HTTPException(400) from error
        answer = await self.endpoint(checked(self._model, content_type(scope), body))
        await answer(scope, receive, send)

    @cached_property
    def _model(self) -> type[BaseModel]:
        return self.dependant.body_params[0].field_info.annotation


class Shortcut:
    """Leads to one route without asking all others first; everything else goes to ``app``."""

    def __init__(self, app: ASGIApp, route: DirectRoute) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._leads(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._route.handle(scope, receive, send)
        except Exception as error:
            answer = problem_answer(Request(scope), error)
            await answer(scope, receive, send)

    def _leads(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != self._route.path:
            return False
        return scope["method"] in self._route.methods


def content_type(scope: Scope) -> str | None:
    """What the request says its body is."""
    found = next((value for name, value in scope["headers"] if name == b"content-type"), None)
    return None if found is None else found.decode("latin-1")


def checked(model: type[BaseModel], kind: str | None, body: bytes) -> BaseModel:
    """The model that a body of a kind describes. Raises RequestValidationError, HTTPException."""
    if not body:
        raise _refused("missing", "Field required")
    if kind != _JSON and not _is_json(kind):
        raise _refused("content_type", f"Expected the content type {_JSON}, got {kind}")
    try:
        return model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        _require_text(body)
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [{**one, "loc": ("body", *one["loc"])} for one in found]
        raise RequestValidationError(errors) from error


def _require_text(body: bytes) -> None:
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


def _refused(kind: str, message: str) -> RequestValidationError:
    error: dict[str, Any] = {"type": kind, "loc": ("body",), "msg": message}
    return RequestValidationError([error])
