"""Functions that the flows share: state folder, environment, Prefect tasks, progress, commit."""

import getpass
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from feature_repo.home import REPOSITORY, resolve_home

if TYPE_CHECKING:
    from prefect import Flow

P = ParamSpec("P")
R = TypeVar("R")

# The tools read these at import. Without a network, each telemetry call would wait for a timeout.
QUIET = {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # XGBoost's threads would spin while they wait, and slow everything else on a busy machine.
    "OMP_WAIT_POLICY": "passive",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Environment variables that turn off telemetry, progress bars and busy waiting, unless set."""

Progress = Callable[[str, int, int], None]
"""A callback for progress: stage, units done, units in total."""

_listener: ContextVar[Progress | None] = ContextVar("progress", default=None)


def prepare_environment() -> Path:
    """Sets CLIPWISE_HOME for Feast, turns telemetry off, and returns the state folder."""
    silence_tools()
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    os.environ["CLIPWISE_HOME"] = str(home)
    return home


def silence_tools() -> None:
    """Turns off the telemetry of the libraries. Works only before they are imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def tracking_uri(home: Path) -> str:
    """Returns MLFLOW_TRACKING_URI, by default the SQLite database in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def as_task(function: Callable[P, R]) -> Callable[P, R]:
    """Wraps a function as a Prefect task inside a flow run; returns it unchanged elsewhere.

    The task caches nothing and stores no result.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return function
    wrapped = task(cache_policy=NO_CACHE, persist_result=False)(function)
    return cast("Callable[P, R]", wrapped)


def run_flow(flow: "Flow[..., R]", **parameters: object) -> R:
    """Runs a flow on the Prefect server of PREFECT_API_URL, or as a plain function without one."""
    call = flow if os.environ.get("PREFECT_API_URL") else flow.fn
    return call(**parameters)


@contextmanager
def progress_to(listener: Progress) -> Iterator[None]:
    """Sends the progress that is reported inside the block to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(stage: str, done: int, total: int) -> None:
    """Reports the progress of a stage to the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


class StageCounter:
    """A callback that counts finished items and reports them as the progress of one stage.

    ``total`` is read at the first item, because some totals need a heavy import.
    """

    def __init__(self, stage: str, total: Callable[[], int]) -> None:
        self._stage, self._total, self._done = stage, total, 0

    def __call__(self, name: str) -> None:
        self._done += 1
        total = self._total()
        report_progress(self._stage, min(self._done, total), total)


def now() -> datetime:
    """Returns the time of the wall clock, in UTC."""
    return datetime.now(UTC)


def login_name() -> str:
    """Returns the login name of the user that runs this process, or the user id without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user id {os.getuid()}"


def git_commit(checkout: Path = REPOSITORY) -> str | None:
    """Returns the commit of a checkout, or None outside one.

    The commit ends with ``-dirty`` if tracked files differ from it.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
