"""Puts the service together: the only place in serving that reads the environment and the clock."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from serving.access.api_keys import KeyFile
from serving.api.app import create_app
from serving.errors import CannotListen
from serving.http.addresses import in_url, is_loopback, listener
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


# The tools read these at their import, which is why that happens late.
_DEFAULTS = {
    # Without a network each of the two would cost time.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # A registry that is down must not hold up what serves meanwhile.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Arrow's own way of keeping memory holds on to some 40 MB of what files of decisions took.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    # Whose traces these are.
    "OTEL_SERVICE_NAME": "clipwise",
}


def load_settings(**overrides: object) -> Settings:
    """The settings of this process's environment; ``overrides`` win."""
    return settings_from_environment(os.environ, **overrides)


def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Answer requests until the process is stopped; ``listening`` hears under which address.

    Raises CannotListen and KeysFailed before anything heavy is done.
    """
    keys = KeyFile(settings.home).read()
    if not len(keys) and not is_loopback(settings.host):
        raise CannotListen(
            f"Without an API key the service listens on this machine alone, and {settings.host} is "
            "reached from others; make a key by `clipwise keys add`, or leave --host out."
        )
    with listener(settings.host, settings.port) as socket:
        listening(f"http://{in_url(settings.host)}:{socket.getsockname()[1]}")
        if settings.workers > 1:
            with shared_metrics(settings.home) as folder:
                application = partial(build, replace(settings, run_folder=folder))
                run_workers(application, settings.workers, socket, settings.limits, _SERVER)
        else:
            config = BoundedConfig(build(settings), settings.limits, **_SERVER)
            uvicorn.Server(config).run(sockets=[socket])


def build(settings: Settings) -> FastAPI:
    """The application, ready to be run by an ASGI server.

    Raises LakeError in replay if nothing was ingested yet; on the wall clock the service starts
    without and says that it is not ready.
    """
    from feature_repo.lake.reader import Lake

    prepare_environment(settings)
    lake = Lake(settings.home)
    online = FeastOnline(open_feature_store(settings.feature_repo))
    return create_app(assemble(settings, lake, online))


def prepare_environment(settings: Settings) -> None:
    """Set what the tools read from the environment, before any of them is imported."""
    os.environ["CLIPWISE_HOME"] = str(settings.home)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
