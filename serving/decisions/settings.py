"""Settings of the decision log."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DecisionLogSettings:
    """The size of the queue in memory, and the triggers of a new file.

    A file is written after ``rows_per_file`` decisions or ``flush_seconds``. At most ``capacity``
    decisions wait. Files are kept for ``days``; None keeps them for ever, since later rankers learn
    from them.
    """

    capacity: int = 5_000
    rows_per_file: int = 2_000
    flush_seconds: float = 10.0
    days: float | None = None
