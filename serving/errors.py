"""What can go wrong in serving, and how a client is told.

ServingError
  AsOfRefused         the request names an instant this service cannot decide for   422
  NotReady            the service lacks something it needs to answer                503
  StorageFailed       what was sent could not be stored durably                     503
  SignatureRefused    a notice that nobody with the secret has signed               401
  ModelError          a model cannot serve; the one in place goes on
    NotPassed           it did not pass the gate, or nothing shows that it did
  AuditFailed         the audit log could not be written or read

Every error answer is a problem document (RFC 9457). None repeats what the client sent.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus

PROBLEM_JSON = "application/problem+json"


class ServingError(Exception):
    """An error whose message is one sentence that a client may read."""

    status = 500
    slug = "internal-error"
    title = "Internal error"


class AsOfRefused(ServingError):
    """The instant in ``as_of`` is not one that this service decides for."""

    status = 422
    slug = "as-of-refused"
    title = "This instant cannot be decided for"


class NotReady(ServingError):
    """Something that every answer needs is missing."""

    status = 503
    slug = "not-ready"
    title = "The service is not ready"


class StorageFailed(ServingError):
    """What was sent could not be stored; send it again later."""

    status = 503
    slug = "storage-failed"
    title = "What was sent could not be stored"


class ModelError(ServingError):
    """A model that cannot serve, and why."""

    slug = "model-error"
    title = "The model cannot serve"


class NotPassed(ModelError):
    """A sound model that did not pass the gate, or of which nothing shows that it did."""


class AuditFailed(ServingError):
    """The audit log could not be written or read."""

    slug = "audit-failed"
    title = "The audit log failed"


class SignatureRefused(ServingError):
    """A webhook's notice without a signature, with a wrong one, or with an old one."""

    status = 401
    slug = "signature-refused"
    title = "The signature is not accepted"


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
