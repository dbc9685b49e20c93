"""A background thread that repeats a few tasks until the service stops."""

import logging
import threading
from collections.abc import Callable

from serving.errors import ServingError

log = logging.getLogger(__name__)

_FIRST_ROUND_SECONDS = 60.0
"""Timeout of the first round. It takes far less, but half of this with imports on busy cores."""

_LAST_TASK_SECONDS = 5.0


class Background:
    """Runs ``tasks`` in order, once at ``start`` and then every ``seconds``.

    A failed task is retried in the next round; the other tasks and the service continue. The same
    failure of a task is logged once. A task may hang, for example on a store that accepts
    connections and never answers. Then ``start`` and ``stop`` wait at most ``timeout`` seconds.
    """

    def __init__(
        self, seconds: float, *tasks: Callable[[], None], timeout: float = _FIRST_ROUND_SECONDS
    ) -> None:
        self._seconds = seconds
        self._tasks = tasks
        self._timeout = timeout
        self._has_run = threading.Event()
        self._failures: dict[Callable[[], None], str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread and waits for the first round, at most until the timeout."""
        self._stop.clear()
        self._has_run.clear()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()
        if not self._has_run.wait(self._timeout):
            log.warning("a background task hangs; the service starts without its result")

    def stop(self) -> None:
        """Stops the thread after its current task; abandons a task that hangs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(min(self._timeout, _LAST_TASK_SECONDS))
            self._thread = None

    def run_once(self) -> None:
        """Runs every task now, in the caller's thread."""
        for task in self._tasks:
            try:
                task()
                self._failures.pop(task, None)
            except Exception as error:
                # The failure may be temporary, and the service answers meanwhile.
                self._log_failure(task, error)

    def _log_failure(self, task: Callable[[], None], error: Exception) -> None:
        failure = repr(error)
        if self._failures.get(task) != failure:
            trace = None if isinstance(error, ServingError) else error
            log.warning("a background task failed: %s", error, exc_info=trace)
        self._failures[task] = failure

    def _run(self) -> None:
        self.run_once()
        self._has_run.set()
        while not self._stop.wait(self._seconds):
            self.run_once()
