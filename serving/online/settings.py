"""Settings of reads from the online store."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OnlineSettings:
    """The timeout of a read, the circuit breaker, and the size of the user cache.

    The breaker opens after ``failures`` in a row; after ``pause_seconds`` one request tries again.
    ``cached_users`` is the number of users kept in memory for outages.
    """

    deadline_seconds: float = 0.1
    failures: int = 5
    pause_seconds: float = 1.0
    cached_users: int = 3_000
