"""Limits of one client: body size, times and request rate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one client.

    The head of a request must be complete ``head_seconds`` after its start, the body
    ``body_seconds`` after the head. A client that does not read its answer for ``write_seconds`` is
    disconnected. ``per_second`` is the number of requests per second that a key may make in each
    worker; 0 sets no limit.
    """

    max_body_bytes: int = 1_048_576
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    write_seconds: float = 30.0
    per_second: float = 1_000.0
