"""What the flows share: where state is, how a step runs, and who hears of its progress."""

import getpass
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.home import REPOSITORY, resolve_home

# The tools read these when they are imported; without a network each would cost time.
QUIET = {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

Progress = Callable[[str, int, int], None]

_listener: ContextVar[Progress | None] = ContextVar("progress", default=None)


def prepare_environment() -> Path:
    """Settle CLIPWISE_HOME for Feast, silence telemetry, and return the state folder."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    os.environ["CLIPWISE_HOME"] = str(home)
    return home


def tracking_uri(home: Path) -> str:
    """The MLflow store of MLFLOW_TRACKING_URI, else the database below the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def step(function: Callable) -> Callable:
    """The function as a Prefect task inside a flow run, and as itself anywhere else."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return function
    return task(function, cache_policy=NO_CACHE, persist_result=False)


def run(flow: Callable, **parameters: object):
    """Run a flow: on the Prefect server of PREFECT_API_URL, else as a plain function."""
    return flow(**parameters) if os.environ.get("PREFECT_API_URL") else flow.fn(**parameters)


@contextmanager
def progress_to(listener: Progress) -> Iterator[None]:
    """Let a listener hear the progress (stage, done, total) of what runs inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(stage: str, done: int, total: int) -> None:
    """Tell whoever listens how far a stage has come."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def actor() -> str:
    """Who runs this process, by the name that the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user id {os.getuid()}"


def git_commit(checkout: Path = REPOSITORY) -> str | None:
    """The commit of a checkout, with ``-dirty`` behind it if tracked files are not as it has them;
    None outside one."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(asked, cwd=checkout, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
