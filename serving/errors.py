"""The errors of serving, and the HTTP status that a client gets for each.

* ServingError
  * AsOfRefused       the service cannot decide for the instant in the request        422
  * InvalidRequest    the request does not follow the contract                        422
  * NotReady          the service lacks something that every answer needs             503
  * OutOfTime         the answer was not ready by its deadline                        503
  * StorageFailed     the events or the ledger could not be stored or read            503
  * SignatureRefused  a registry notice without a valid signature                     401
  * Refusal           a request refused before it is parsed
    * KeyRefused      no API key, or an unknown one                                   401
    * ScopeRefused    an API key without the scope of the path                        403
    * TooSlow         a body that did not arrive in time                              408
    * TooLarge        a body above the limit                                          413
    * TooMany         more requests than the rate of the key                          429
  * ModelError        a model that cannot serve; the current one stays in use
    * NotPassed       a model that did not provably pass the gate
  * AuditFailed       the audit log could not be written or read
  * KeysFailed        the file of API keys could not be read or changed
  * SettingsRefused   an invalid setting in the environment
  * CannotListen      an address that the service cannot or must not listen on

Every error answer is a problem document (RFC 9457). None repeats what the client sent.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Foreign = TypeVar("Foreign", bound=Exception)


class ServingError(Exception):
    """An error of serving. Its message is a sentence that a client may read.

    ``status``, ``slug`` and ``title`` are those of its problem document.
    """

    status = 500
    slug = "internal-error"
    title = "Internal error"


class AsOfRefused(ServingError):
    """An ``as_of`` that this service cannot decide for."""

    status = 422
    slug = "as-of-refused"
    title = "The instant in as_of is not accepted"


class InvalidRequest(ServingError):
    """A request that does not follow the contract; ``errors`` of the problem list each place."""

    status = 422
    slug = "invalid-request"
    title = "Invalid request"


class NotReady(ServingError):
    """The service lacks something that every answer needs."""

    status = 503
    slug = "not-ready"
    title = "The service is not ready"


class OutOfTime(ServingError):
    """An answer was not ready by its deadline; a retry may be."""

    status = 503
    slug = "out-of-time"
    title = "The answer was not ready in time"


class StorageFailed(ServingError):
    """Data could not be stored or read; a later retry may succeed."""

    status = 503
    slug = "storage-failed"
    title = "The storage failed"


class ModelError(ServingError):
    """A model that cannot serve. The message is the reason."""

    slug = "model-error"
    title = "The model cannot serve"


class NotPassed(ModelError):
    """A sound model that did not pass the gate, or has no proof that it did."""


class AuditFailed(ServingError):
    """The audit log could not be written or read."""

    slug = "audit-failed"
    title = "The audit log failed"


class SignatureRefused(ServingError):
    """A registry notice whose signature is missing, wrong or old."""

    status = 401
    slug = "signature-refused"
    title = "The signature is not accepted"


class KeysFailed(ServingError):
    """The API keys could not be read or changed."""

    slug = "keys-failed"
    title = "The API keys failed"


class SettingsRefused(ServingError):
    """An invalid setting in the environment."""

    slug = "settings-refused"
    title = "A setting is not valid"


class CannotListen(ServingError):
    """An address that is in use, is not of this machine, or would be public without an API key."""

    slug = "cannot-listen"
    title = "The service cannot listen on this address"


class Refusal(ServingError):
    """A request refused before it is parsed; ``headers`` are those of its answer."""

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class KeyRefused(Refusal):
    """No API key, or an unknown one."""

    status = 401
    slug = "key-refused"
    title = "An API key is needed"


class ScopeRefused(Refusal):
    """An API key without the scope of the path."""

    status = 403
    slug = "scope-refused"
    title = "The API key lacks the scope"


class TooSlow(Refusal):
    """A body that did not arrive in time."""

    status = 408
    slug = "too-slow"
    title = "The body did not arrive in time"


class TooLarge(Refusal):
    """A body above the limit."""

    status = 413
    slug = "too-large"
    title = "The body is too large"


class TooMany(Refusal):
    """More requests than the rate of the key allows."""

    status = 429
    slug = "too-many-requests"
    title = "Too many requests"


@contextmanager
def translated(
    errors: type[Foreign] | tuple[type[Foreign], ...],
    failure: Callable[[Foreign], ServingError],
) -> Iterator[None]:
    """Runs the block; in place of a library's error, raises the one that ``failure`` returns.

    >>> with translated(OSError, lambda error: StorageFailed(f"The disk failed ({error}).")):
    ...     raise OSError("no space")
    Traceback (most recent call last):
    serving.errors.StorageFailed: The disk failed (no space).
    """
    try:
        yield
    except errors as error:
        raise failure(error) from error
