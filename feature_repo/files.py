"""Files that several processes write: exclusive locks, and writes that survive a power loss."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool = True, mode: int = 0o666) -> Iterator[int]:
    """Holds an exclusive lock on a file, which is created if missing; yields its descriptor.

    The lock ends with the block or with the process. A new file gets ``mode``, less the process's
    umask. Raises BlockingIOError if another process holds the lock and ``wait`` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def sync(paths: Iterable[Path | str]) -> None:
    """Waits until files and folders are on the disk, together with their parent folders."""
    given = [Path(path) for path in paths]
    for path in {*given, *(path.parent for path in given)}:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
