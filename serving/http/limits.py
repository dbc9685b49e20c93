"""Limits of one caller: body size, times and request rate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one caller may take up.

    A request's head and body must each be there ``head_seconds`` and ``body_seconds`` after they
    were due, and an answer that waits to be read is given up after ``write_seconds``.
    ``per_second`` is how many requests a key may make in each worker; 0 sets no limit.
    """

    max_body_bytes: int = 1_048_576
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    write_seconds: float = 30.0
    per_second: float = 1_000.0
