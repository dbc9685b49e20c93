"""Child processes that start with Feast imported, since its import takes seconds."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

LIBRARIES = [
    "duckdb",
    "feast",
    "feast.infra.compute_engines.local.compute",
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.redis",
    "feast.infra.online_stores.sqlite",
]
"""Imported once by the server that forks the children; it imports none of our own modules."""


@contextmanager
def child(target: Callable, *arguments) -> Iterator[tuple[BaseProcess, Connection]]:
    """Runs ``target(*arguments, connection)`` in a process; yields it and our end of the pipe.

    ``target`` is a function of a module. The process is killed when the block ends. Reading from
    the pipe raises EOFError once the process has ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
