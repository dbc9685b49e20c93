"""The API page and the document behind it: what the routes alone do not tell."""

import base64
import hashlib
import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access.admission import OPEN_FOLDER, SCOPE_BY_PATH
from serving.errors import (
    InvalidRequest,
    KeyRefused,
    NotReady,
    ScopeRefused,
    ServingError,
    TooLarge,
    TooMany,
    TooSlow,
)
from serving.http.problems import PROBLEM_JSON, problem
from serving.schemas.fields import Problem
from serving.telemetry.logs import REQUEST_ID_HEADER

_SCHEME = "ApiKey"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_REQUEST_ID = {
    "name": REQUEST_ID_HEADER.title(),
    "in": "header",
    "required": False,
    "description": "Your name for this request, new for each: up to 128 letters, digits and . _ : "
    "- in it. Without one, or with another, it gets one.",
    "schema": {"type": "string"},
}


def problems(*cases: tuple[type[ServingError] | int, str]) -> dict[int, dict[str, Any]]:
    """The problem documents of a route: an error, or a bare status, and when it comes."""
    found = {}
    for kind, reason in cases:
        status, slug, title = (
            (kind, None, None) if isinstance(kind, int) else (kind.status, kind.slug, kind.title)
        )
        example = json.loads(problem(status, reason, slug, title))
        content = {PROBLEM_JSON: {"schema": Problem.model_json_schema(), "example": example}}
        found[status] = {"description": reason, "content": content}
    return found


CONTRACT_PROBLEMS = problems(
    (400, "The body could not be read."),
    (TooSlow, "The body did not arrive in time."),
    (TooLarge, "The body is too large."),
    (InvalidRequest, "The request does not follow the contract."),
    (NotReady, "The service cannot answer now; send the request again later."),
)
_KEY_PROBLEMS = problems(
    (KeyRefused, "There is no API key, or one that is not known."),
    (ScopeRefused, "The API key does not have the scope of this path."),
    (TooMany, "The key made too many requests; Retry-After says when to come again."),
)


def add_page(app: FastAPI) -> None:
    """The page at /docs, whose files come from here and which can run no script but its own."""
    html = get_swagger_ui_html(
        openapi_url=str(app.openapi_url),
        title=app.title,
        swagger_js_url=f"{OPEN_FOLDER}swagger-ui-bundle.js",
        swagger_css_url=f"{OPEN_FOLDER}swagger-ui.css",
        swagger_favicon_url=f"{OPEN_FOLDER}favicon.png",
    ).body
    page = bytes(html).decode()
    headers = {"content-security-policy": _policy(page)}

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def ignore_range_headers(app: FastAPI) -> None:
    """Take no notice of a wish for a part of the page's files: a bad one is answered in plain text.

    Every other error here is a problem document.
    """

    def whole(inner: ASGIApp) -> ASGIApp:
        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [one for one in scope["headers"] if one[0] != b"range"]
            await inner({**scope, "headers": headers}, receive, send)

        return answered

    for mount in (route for route in app.routes if isinstance(route, Mount)):
        mount.app = whole(mount.app)


def _policy(page: str) -> str:
    """The content security policy of a page with inline scripts: these, by their hash.

    Swagger UI sets styles inline and draws its icons from ``data:`` addresses.
    """
    scripts = [hashlib.sha256(text.encode()).digest() for text in _INLINE_SCRIPT.findall(page)]
    hashes = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in scripts)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def describe_keys(app: FastAPI) -> None:
    """Let the app's document say which paths ask for a key, and with which scope."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        if _SCHEME not in document["components"].get("securitySchemes", {}):
            _describe_keys(document)
        return document

    app.openapi = openapi


def _describe_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `clipwise keys add` made. A service that has none listens "
            "on this machine alone and asks for none.",
        }
    }
    for path, scope in SCOPE_BY_PATH.items():
        for operation in document["paths"][path].values():
            operation["security"] = [{_SCHEME: [scope]}]
            operation["parameters"] = [*operation.get("parameters", ()), _REQUEST_ID]
            for status, response in _KEY_PROBLEMS.items():
                operation["responses"][str(status)] = response
