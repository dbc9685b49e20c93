"""Worker processes on one port. Uvicorn's supervisor replaces a worker that dies."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from serving.http.limits import Limits
from serving.http.protocol import BoundedConfig
from serving.telemetry.logs import log_to_stderr

_HEALTHCHECK_SECONDS = 60
"""Time after which a worker that does not respond is replaced. It cannot while it imports."""

_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_metrics(home: Path) -> Iterator[Path]:
    """Makes an empty folder below ``home`` for the metrics of all workers; removes it at the end.

    The Prometheus client finds it by an environment variable, which the workers inherit.
    """
    folder = home / "metrics" / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_SHARED_METRICS] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_workers(
    application: Callable[[], FastAPI],
    count: int,
    listening: socket,
    limits: Limits,
    options: dict[str, Any],
) -> None:
    """Serves from ``count`` processes until this process is stopped.

    Each worker calls ``application`` to build its app, so it must be picklable. ``options`` are
    uvicorn's.
    """
    config = BoundedConfig(
        partial(_in_worker, application),
        limits,
        factory=True,
        workers=count,
        timeout_worker_healthcheck=_HEALTHCHECK_SECONDS,
        **options,
    )
    Multiprocess(config, [listening]).run()


def _in_worker(application: Callable[[], FastAPI]) -> FastAPI:
    log_to_stderr()
    _drop_gauges_of_dead_workers(Path(os.environ[_SHARED_METRICS]))
    return application()


def _drop_gauges_of_dead_workers(folder: Path) -> None:
    """Removes the gauges of workers that have ended; their counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not Path("/proc", str(process)).exists():
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]  # it has no annotations
