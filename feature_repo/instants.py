"""Instants as whole microseconds since 1970-01-01 UTC, the unit of every stored instant."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MICROSECOND = timedelta(microseconds=1)

DAY = 86_400_000_000
"""Microseconds in a day."""


def microseconds(instant: datetime) -> int:
    """Converts an instant with a time zone, exactly.

    >>> microseconds(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Converts back to an instant in UTC.

    >>> from_microseconds(DAY).isoformat()
    '1970-01-02T00:00:00+00:00'
    """
    return EPOCH + timedelta(microseconds=int(value))
