"""What can go wrong in serving, and how a client is told.

ServingError
  AsOfRefused         the request names an instant this service cannot decide for   422
  InvalidRequest      the request does not follow the contract                      422
  NotReady            the service lacks something it needs to answer                503
  OutOfTime           an answer would take longer than it may                       503
  StorageFailed       what was sent could not be stored durably                     503
  SignatureRefused    a notice that nobody with the secret has signed               401
  KeyRefused          no API key, or one that is not known                          401
  ScopeRefused        a key that does not reach this far                            403
  TooSlow             a body that did not arrive in time                            408
  TooLarge            a body above the limit                                        413
  TooMany             more requests than the key may make                           429
  ModelError          a model cannot serve; the one in place goes on
    NotPassed           it did not pass the gate, or nothing shows that it did
  AuditFailed         the audit log could not be written or read
  KeysFailed          the file of API keys could not be read or changed as asked
  SettingsRefused     the environment holds a setting that makes no sense
  CannotListen        the service may not or cannot listen where it was told to

Every error answer is a problem document (RFC 9457). None repeats what the client sent.
"""

from collections.abc import Mapping


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


class InvalidRequest(ServingError):
    """The request does not follow the contract; the problem's ``errors`` names each place."""

    status = 422
    slug = "invalid-request"
    title = "Invalid request"


class NotReady(ServingError):
    """Something that every answer needs is missing."""

    status = 503
    slug = "not-ready"
    title = "The service is not ready"


class OutOfTime(ServingError):
    """An answer would take longer than it may; the next one may not."""

    status = 503
    slug = "out-of-time"
    title = "There was no answer in time"


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


class KeysFailed(ServingError):
    """The API keys could not be read, or not changed as asked."""

    slug = "keys-failed"
    title = "The API keys failed"


class SettingsRefused(ServingError):
    """A setting of the environment makes no sense."""

    slug = "settings-refused"
    title = "A setting makes no sense"


class CannotListen(ServingError):
    """The address is taken or not ours, or open to others while there is no key."""

    slug = "cannot-listen"
    title = "The service cannot listen there"


class Refusal(ServingError):
    """A request that is turned away before it is looked into; ``headers`` say what would help."""

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class KeyRefused(Refusal):
    """No API key, or one that is not known here."""

    status = 401
    slug = "key-refused"
    title = "An API key is needed"


class ScopeRefused(Refusal):
    """A key that does not reach this far."""

    status = 403
    slug = "scope-refused"
    title = "The key does not reach this far"


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
    """More requests than the key may make."""

    status = 429
    slug = "too-many-requests"
    title = "Too many requests"
