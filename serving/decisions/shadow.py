"""A thread for rankings in shadow, which run after the answer."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Shadow:
    """Runs jobs on one thread, with at most ``capacity`` waiting.

    ``skipped`` counts the jobs that found no room or failed.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(capacity)
        self._thread: threading.Thread | None = None
        self.skipped = 0

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Queues a job, or skips it when the queue is full; never blocks."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.skipped += 1

    def close(self) -> None:
        """Runs the waiting jobs and stops the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                # A failing challenger must not end the thread.
                self.skipped += 1
                log.exception("the challenger could not rank a request in shadow")
