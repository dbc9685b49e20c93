"""Errors of the offline store."""

from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException

from feature_repo.lake.state import LakeError


class PointInTimeError(Exception):
    """A query that cannot be answered as of an instant; the message names the remedy."""


class BeyondWatermark(LakeError, ClickException):
    """An instant after the lake's watermark; the feast command prints it as one sentence."""


@contextmanager
def duckdb_errors(subject: str) -> Iterator[None]:
    """Turns DuckDB's errors into PointInTimeError, with the subject in the message."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            reason += "; raise memory_limit of the offline store in feature_store.yaml"
        raise PointInTimeError(f"{subject} cannot be read: {reason}") from error
