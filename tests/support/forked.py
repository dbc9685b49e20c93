"""Child processes with the large libraries imported at the start, as an import takes seconds."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from flows.runtime import silence_tools

LIBRARIES = [
    "duckdb",
    "deltalake",
    "feast",
    "feast.infra.compute_engines.local.compute",
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.redis",
    "feast.infra.online_stores.sqlite",
    "great_expectations",
    "great_expectations.expectations",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "prefect",
    "sklearn.ensemble",
    "xgboost",
]
"""Imported once by the server that forks the children; it imports none of our own modules."""


def _context() -> ForkServerContext:
    # The libraries read the variables that turn off telemetry when the server imports them.
    silence_tools()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


@contextmanager
def child(target: Callable, *arguments) -> Iterator[tuple[BaseProcess, Connection]]:
    """Runs ``target(*arguments, connection)`` in a process; yields it and our end of the pipe.

    ``target`` is a function of a module. The process is killed when the block ends. Reading from
    the pipe raises EOFError once the process has ended.
    """
    context = _context()
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


def run_program(
    entry: str, arguments: list[str], environ: Mapping[str, str], cwd: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs the entry point ``module:function`` of a console script in a process of its own.

    The process gets the arguments, the environment and the folder, as from a shell. Raises
    subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        given = (entry, arguments, dict(environ), str(cwd), streams)
        process = _context().Process(target=_run_program, args=given)
        process.start()
        process.join(timeout)
        try:
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(arguments, timeout)
            printed = [Path(stream).read_text() for stream in streams]
            return subprocess.CompletedProcess([entry, *arguments], process.exitcode, *printed)
        finally:
            process.kill()
            process.join()
            process.close()


def _run_program(
    entry: str, arguments: list[str], environ: dict[str, str], cwd: str, streams: list[str]
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for descriptor, stream in enumerate(streams, 1):
        opened = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    module, _, function = entry.partition(":")
    sys.argv = [function, *arguments]
    getattr(importlib.import_module(module), function)()
