"""A thread that does a few tasks again and again until the service stops."""

import logging
import threading
from collections.abc import Callable

from serving.errors import ServingError

log = logging.getLogger(__name__)


class Background:
    """Runs ``tasks`` in order, once at ``start`` and then every ``seconds``.

    A task that fails is tried again the next time; it stops neither the others nor the service. A
    failure is logged when it comes and not again while it stays the same.
    """

    def __init__(self, seconds: float, *tasks: Callable[[], None]) -> None:
        self._seconds = seconds
        self._tasks = tasks
        self._failures: dict[Callable[[], None], str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run every task once before returning, then go on in the background."""
        self.run_once()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the task that runs now."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
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
        while not self._stop.wait(self._seconds):
            self.run_once()
