"""Settings of reads from the online store."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OnlineSettings:
    """How long a read of the online store may take, and when a store in trouble is left alone.

    After ``failures`` in a row no request reads for ``pause_seconds``; then one tries again.
    ``remembered`` users are kept as they were last read.
    """

    deadline_seconds: float = 0.1
    failures: int = 5
    pause_seconds: float = 1.0
    remembered: int = 3_000
