"""How much memory a query may take, and where it writes what does not fit."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = 400_000_000
"""What Python, Feast and the libraries below them take in bytes before any query."""

LEAST = 500_000_000
"""Below this a query has nothing left to work with."""

_UNITS = {"B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4}


def bytes_of(text: str) -> int:
    """A size such as 4GB in bytes, in steps of 1,000. Raises ValueError for other text."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text.upper())
    size = int(float(match[1]) * 1000 ** _UNITS[match[2]]) if match else 0
    if size < LEAST:
        raise ValueError(f"Expected a size of memory such as 4GB, at least 500MB, got {text!r}.")
    return size


@contextmanager
def spill_folder(root: Path) -> Iterator[Path]:
    """A folder of one query's own below ``root``: DuckDB makes it when needed, and it goes after.

    Two queries cannot share one, since DuckDB names its files alike in each.
    """
    # DuckDB makes the folder itself, but none above it.
    root.mkdir(parents=True, exist_ok=True)
    _drop_orphans(root)
    folder = root / f"clipwise-spill-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _drop_orphans(root: Path) -> None:
    """Remove what queries that were killed left behind."""
    for folder in root.glob("clipwise-spill-*-*"):
        try:
            os.kill(int(folder.name.split("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            continue
