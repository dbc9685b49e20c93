"""Settings of the decision log."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DecisionLogSettings:
    """How many decisions may wait in memory, and when the waiting ones become a Parquet file.

    ``days`` is how long files are kept, None for ever: what was shown is what later rankers learn
    from.
    """

    capacity: int = 5_000
    rows_per_file: int = 2_000
    flush_seconds: float = 10.0
    days: float | None = None
