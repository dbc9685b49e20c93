"""A route whose endpoint takes the body and nothing else: its bytes are checked as they are parsed.

FastAPI makes Python objects of the JSON, solves for the endpoint's arguments and checks them then,
which takes longer than a recommendation's own rules. The document at /docs is FastAPI's as ever.
"""

from email.message import Message
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

_JSON = "application/json"


class BodyRoute(APIRoute):
    """Gives the endpoint its one argument, a pydantic model, and sends the response it makes."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect as error:
            raise HTTPException(400) from error
        asked = checked(self._model, request.headers.get("content-type"), body)
        answer = await self.endpoint(asked)
        await answer(scope, receive, send)

    @property
    def _model(self) -> type[BaseModel]:
        return self.dependant.body_params[0].field_info.annotation


def checked(model: type[BaseModel], content_type: str | None, body: bytes) -> BaseModel:
    """The model that a JSON body describes. Raises RequestValidationError, HTTPException."""
    if not body:
        raise _refused("missing", "Field required")
    if content_type != _JSON and not _is_json(content_type):
        raise _refused("content_type", f"Expected the content type {_JSON}, got {content_type}")
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
