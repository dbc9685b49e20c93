"""The decision log: candidates, shown coupons, propensities and model of every answer.

A request only appends to a list in memory; a thread writes Parquet files. Decisions that cannot be
kept are dropped and counted.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from serving.decisions.files import remove_leftovers, remove_older, write_decisions
from serving.decisions.record import Decision
from serving.decisions.settings import DecisionLogSettings

log = logging.getLogger(__name__)

_HOUR, _DAY = 3_600, 86_400


class DecisionSink(Protocol):
    """A receiver of decisions."""

    def record(self, decision: Decision) -> None:
        """Keeps a decision; never blocks."""


class NoDecisionLog:
    """A sink that drops decisions, for answers that no user sees."""

    def record(self, decision: Decision) -> None:
        """Does nothing."""


class DecisionLog:
    """Writes decisions to Parquet files in ``folder``, in a thread.

    While the disk refuses a file, decisions wait in memory; every ``flush_seconds`` is a retry.
    ``written`` counts decisions in files. ``dropped`` counts those that found no room in memory,
    fit no file, or could not be written at the end. ``problem`` is the last error of the disk, None
    after a success.

    ``now`` returns seconds since the epoch. It must ignore forward jumps of the clock, as old files
    are removed by it. ``write`` raises OSError for an error that a retry may solve.
    """

    def __init__(
        self,
        folder: Path,
        settings: DecisionLogSettings,
        now: Callable[[], float],
        write: Callable[[Path, Sequence[Decision]], Path] = write_decisions,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._write_file = write
        self._now = now
        self._pending: list[Decision] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.written = 0
        self.problem: str | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    def record(self, decision: Decision) -> None:
        """Queues a decision for the next file; drops and counts it if the queue is full."""
        with self._lock:
            if len(self._pending) >= self._settings.capacity:
                self.dropped += 1
                return
            self._pending.append(decision)
            is_full = len(self._pending) >= self._settings.rows_per_file
        # While the disk refuses files, only the timer retries, not every request.
        if is_full and self.problem is None:
            self._wake.set()

    def close(self) -> None:
        """Writes the waiting decisions and stops; those that fail are dropped and counted."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()
        with self._lock:
            lost, self._pending = self._pending, []
            self.dropped += len(lost)
        if lost:
            log.error("%d decisions are lost: %s", len(lost), self.problem)

    def flush(self, min_rows: int = 1) -> None:
        """Writes the decisions that wait now, in files of ``min_rows`` to ``rows_per_file`` rows.

        Decisions that arrive meanwhile wait for the next flush; under load some always do.
        """
        with self._writing:
            waiting = len(self._pending)
            while waiting >= min_rows:
                # Safe without the lock: only this method removes, at the front, and only
                # ``record`` adds, at the end.
                batch = self._pending[: min(waiting, self._settings.rows_per_file)]
                if not self._write(batch):
                    return
                with self._lock:
                    del self._pending[: len(batch)]
                waiting -= len(batch)

    def _run(self) -> None:
        cleanup_at = self._now()
        while not self._closing:
            if self._now() >= cleanup_at:
                cleanup_at = self._now() + _HOUR
                self._remove_old_files()
            is_full = self._wake.wait(self._settings.flush_seconds)
            self._wake.clear()
            self.flush(self._settings.rows_per_file if is_full else 1)

    def _remove_old_files(self) -> None:
        """Removes leftovers of crashes, and files older than ``days``."""
        days = self._settings.days
        try:
            removed = remove_leftovers(self._folder)
            if days is not None:
                removed += remove_older(self._folder, self._now() - days * _DAY)
        except OSError as error:
            log.warning("old decision files could not be removed: %s", error)
            return
        if removed:
            log.info("%d old decision files removed", removed)

    def _write(self, batch: list[Decision]) -> bool:
        """Writes a batch; returns False if it must be retried, True if written or dropped."""
        try:
            path = self._write_file(self._folder, batch)
        except OSError as error:
            if self.problem is None:
                log.warning("decisions cannot be written and wait in memory: %s", error)
            self.problem = str(error)
            return False
        except Exception:
            # A retry would fail the same way. Drop the batch and keep the thread for later ones.
            with self._lock:
                self.dropped += len(batch)
            log.exception("%d decisions fit no file and are lost", len(batch))
            return True
        self.problem = None
        self.written += len(batch)
        log.info("%d decisions written to %s", len(batch), path.name)
        return True
