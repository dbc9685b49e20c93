"""A thread that does a few tasks again and again until the service stops."""

import logging
import threading
from collections.abc import Callable

from serving.errors import ServingError

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 60.0
"""Far above what the first round takes; with imports on busy cores that may be half of it."""

_LAST_TASK_SECONDS = 5.0


class Background:
    """Runs ``tasks`` in order, once at ``start`` and then every ``seconds``.

    A task that fails is tried again the next time; it stops neither the others nor the service. A
    failure is logged when it comes and not again while it stays the same. For one that hangs, as
    on a store that takes connections and says nothing, nobody waits longer than ``patience``.
    """

    def __init__(
        self, seconds: float, *tasks: Callable[[], None], patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._seconds = seconds
        self._tasks = tasks
        self._patience = patience
        self._ran = threading.Event()
        self._failures: dict[Callable[[], None], str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Return once every task ran, or the patience is over; they go on in the background."""
        self._stop.clear()
        self._ran.clear()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()
        if not self._ran.wait(self._patience):
            log.warning("a background task hangs; the service starts without what it brings")

    def stop(self) -> None:
        """Stop after the task that runs now, or leave it behind if it hangs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(min(self._patience, _LAST_TASK_SECONDS))
            self._thread = None

    def run_once(self) -> None:
        """Run every task now."""
        for task in self._tasks:
            try:
                task()
                self._failures.pop(task, None)
            except Exception as error:
                # What fails now may work in a moment, and the service answers meanwhile.
                self._complain(task, error)

    def _complain(self, task: Callable[[], None], error: Exception) -> None:
        failure = repr(error)
        if self._failures.get(task) != failure:
            trace = None if isinstance(error, ServingError) else error
            log.warning("a background task failed: %s", error, exc_info=trace)
        self._failures[task] = failure

    def _run(self) -> None:
        self.run_once()
        self._ran.set()
        while not self._stop.wait(self._seconds):
            self.run_once()
