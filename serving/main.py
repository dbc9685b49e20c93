"""Starts the service. With ``wiring``, the only place that reads the environment and the clock."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from feature_repo.lake.reader import Lake
from serving.access.api_keys import KeyFile
from serving.api.app import create_app
from serving.errors import CannotListen
from serving.http.addresses import bound_socket, in_url, is_loopback
from serving.http.protocol import BoundedConfig
from serving.http.workers import run_workers, shared_metrics
from serving.online.feast_reader import FeastOnline
from serving.online.feast_store import open_feature_store
from serving.settings import Settings, settings_from_environment
from serving.wiring import assemble

# Uvicorn's settings. The log and the headers are our own; a proxy's headers are not trusted.
_SERVER: dict[str, Any] = {
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": 10,
}


# MLflow, Arrow and OpenTelemetry read these when they are imported, so they are imported late.
_DEFAULTS = {
    # No telemetry; without a network each of the two would also cost time.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # A registry that is down must not block the ranker in use.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Arrow's own memory pool keeps some 40 MB after writing decision files.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    # The name of this service in traces.
    "OTEL_SERVICE_NAME": "clipwise",
}


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings from this process's environment; ``overrides`` win."""
    return settings_from_environment(os.environ, **overrides)


def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Answers requests until the process is stopped. Calls ``listening`` with the address first.

    Raises CannotListen and KeysFailed before any slow import.
    """
    keys = KeyFile(settings.home).read()
    if not len(keys) and not is_loopback(settings.host):
        raise CannotListen(
            f"Without an API key the service listens on this machine alone, and {settings.host} is "
            "reached from others; make a key by `clipwise keys add`, or leave --host out."
        )
    with bound_socket(settings.host, settings.port) as socket:
        listening(f"http://{in_url(settings.host)}:{socket.getsockname()[1]}")
        if settings.workers > 1:
            with shared_metrics(settings.home) as folder:
                application = partial(build, replace(settings, run_folder=folder))
                run_workers(application, settings.workers, socket, settings.limits, _SERVER)
        else:
            config = BoundedConfig(build(settings), settings.limits, **_SERVER)
            uvicorn.Server(config).run(sockets=[socket])


def build(settings: Settings) -> FastAPI:
    """Builds the ASGI application.

    Raises LakeError in replay for an empty lake. On the wall clock the service starts without
    data, and `/readyz` answers that it is not ready.
    """
    prepare_environment(settings)
    lake = Lake(settings.home)
    online = FeastOnline(open_feature_store(settings.feature_repo))
    return create_app(assemble(settings, lake, online))


def prepare_environment(settings: Settings) -> None:
    """Sets the variables of the tools, before any of them is imported."""
    os.environ["CLIPWISE_HOME"] = str(settings.home)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
