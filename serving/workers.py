"""Several processes that answer on one port. A process that dies is replaced."""

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import socket

from fastapi import FastAPI
from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from serving.connections import bounded_by
from serving.settings import Settings

_HANGS_SECONDS = 60
"""A worker that answers nothing for so long is replaced; while it imports, it may be slow."""

_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def serve_by_workers(settings: Settings, listening: socket, options: dict) -> None:
    """Answer by ``settings.workers`` processes until this one is told to stop.

    ``options`` are what uvicorn is told beside. The workers' metrics lie below the state folder
    while they run, since each adds its own to what it shows.
    """
    folder = settings.home / "metrics" / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_SHARED_METRICS] = str(folder)
    try:
        told = WorkerConfig(replace(settings, run_folder=folder), options)
        Multiprocess(told, [listening]).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class WorkerConfig(Config):
    """What each worker's server is told; it travels to a new process, where it is made whole."""

    def __init__(self, settings: Settings, options: dict) -> None:
        told = {name: value for name, value in options.items() if name != "http"}
        super().__init__(
            partial(_application, settings),
            factory=True,
            workers=settings.workers,
            timeout_worker_healthcheck=_HANGS_SECONDS,
            **told,
        )
        self._limits = settings.limits

    def load(self) -> None:
        # A class made for these limits cannot travel.
        self.http = bounded_by(self._limits)
        super().load()


def _application(settings: Settings) -> FastAPI:
    from serving.logs import log_to_stderr
    from serving.main import build

    log_to_stderr()
    _forget_the_dead(Path(os.environ[_SHARED_METRICS]))
    return build(settings)


def _forget_the_dead(folder: Path) -> None:
    """Take back what workers that are gone still say of the present; their counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not Path("/proc", str(process)).exists():
            mark_process_dead(process, str(folder))
