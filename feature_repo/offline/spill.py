"""Memory limit of a query, and the folder for what does not fit."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARY_BYTES = 400_000_000
"""Bytes that Python, Feast and their libraries take before any query."""

LEAST_BYTES = 500_000_000
"""The smallest limit that leaves a query enough memory to work."""

_UNITS = {"B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4}


def parse_size(text: str) -> int:
    """Parses a size such as 4GB into bytes; units are powers of 1,000.

    Raises ValueError for other text and for less than ``LEAST_BYTES``.

    >>> parse_size("1.5GB")
    1500000000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text.upper())
    size = int(float(match[1]) * 1000 ** _UNITS[match[2]]) if match else 0
    if size < LEAST_BYTES:
        raise ValueError(f"Expected a size of memory such as 4GB, at least 500MB, got {text!r}.")
    return size


@contextmanager
def spill_folder(root: Path) -> Iterator[Path]:
    """Yields one query's own folder below ``root`` and removes it afterwards.

    DuckDB creates the folder when it needs it. Two queries cannot share one, since DuckDB gives
    its files the same names in each.
    """
    # DuckDB creates the folder itself, but no parent of it.
    root.mkdir(parents=True, exist_ok=True)
    _remove_orphans(root)
    folder = root / f"clipwise-spill-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans(root: Path) -> None:
    """Removes the folders of queries whose process was killed."""
    for folder in root.glob("clipwise-spill-*-*"):
        try:
            os.kill(int(folder.name.split("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            continue
