"""Errors of the offline store."""

import re
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
        # DuckDB names its own columns here, and the subject has those of the user.
        reason = re.sub(r" when casting from source column \S+$", "", str(error).splitlines()[0])
        if isinstance(error, duckdb.OutOfMemoryException):
            reason += "; raise memory_limit of the offline store in feature_store.yaml"
        raise PointInTimeError(f"{subject} cannot be read: {reason}") from error
