"""The API page at /docs, and the parts of the OpenAPI document that FastAPI cannot derive.

The page's files come from the package fastapi_offline, so that it needs no network.
"""

import base64
import hashlib
import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse
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
    "description": "A unique id of this request: up to 128 letters, digits and . _ : - in it. "
    "Without a valid one the service makes one.",
    "schema": {"type": "string"},
}


def problem_responses(
    *cases: tuple[type[ServingError] | int, str],
) -> dict[int | str, dict[str, Any]]:
    """Returns OpenAPI responses with problem documents: an error or a status, and its reason."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind, reason in cases:
        status, slug, title = (
            (kind, None, None) if isinstance(kind, int) else (kind.status, kind.slug, kind.title)
        )
        example = json.loads(problem(status, reason, slug, title))
        content = {PROBLEM_JSON: {"schema": Problem.model_json_schema(), "example": example}}
        found[status] = {"description": reason, "content": content}
    return found


CONTRACT_PROBLEMS = problem_responses(
    (400, "The body could not be read."),
    (TooSlow, "The body did not arrive in time."),
    (TooLarge, "The body is too large."),
    (InvalidRequest, "The request does not follow the contract."),
    (NotReady, "The service cannot answer now; send the request again later."),
)
_KEY_PROBLEMS = problem_responses(
    (KeyRefused, "The API key is missing or unknown."),
    (ScopeRefused, "The API key does not have the scope of this path."),
    (TooMany, "The key made too many requests; retry after the seconds in Retry-After."),
)


def add_docs_page(app: FastAPI) -> None:
    """Adds the page at /docs with its files. A browser runs no script but its own."""
    files = StaticFiles(packages=[("fastapi_offline", "static")])
    app.mount(OPEN_FOLDER.rstrip("/"), _without_range(files), name="static-offline-docs")
    html = get_swagger_ui_html(
        openapi_url=str(app.openapi_url),
        title=app.title,
        swagger_js_url=f"{OPEN_FOLDER}swagger-ui-bundle.js",
        swagger_css_url=f"{OPEN_FOLDER}swagger-ui.css",
        swagger_favicon_url=f"{OPEN_FOLDER}favicon.png",
    ).body
    page = bytes(html).decode()
    headers = {"content-security-policy": _content_security_policy(page)}

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def _without_range(app: ASGIApp) -> ASGIApp:
    """Returns the app without the header Range, so that it sends whole files.

    Starlette answers an invalid Range in plain text; every other error is a problem document.
    """

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [one for one in scope["headers"] if one[0] != b"range"]
        await app({**scope, "headers": headers}, receive, send)

    return whole


def _content_security_policy(page: str) -> str:
    """Returns a policy that allows the inline scripts of the page, by their hashes, and no other.

    Swagger UI sets styles inline and draws its icons from ``data:`` URLs.
    """
    scripts = [hashlib.sha256(text.encode()).digest() for text in _INLINE_SCRIPT.findall(page)]
    hashes = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in scripts)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def describe_keys(document: dict[str, Any]) -> None:
    """Adds the API keys to an OpenAPI document, once: each path's scope, and its refusals."""
    if _SCHEME in document["components"].get("securitySchemes", {}):
        return
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `clipwise keys add`. A service without any key listens "
            "on this machine only and needs none.",
        }
    }
    for path, scope in SCOPE_BY_PATH.items():
        for operation in document["paths"][path].values():
            operation["security"] = [{_SCHEME: [scope]}]
            operation["parameters"] = [*operation.get("parameters", ()), _REQUEST_ID]
            for status, response in _KEY_PROBLEMS.items():
                operation["responses"][str(status)] = response
