"""The decision log: what was shown to whom, from what, with which probability and by which model.

Requests hand their decision over and go on; a thread of its own writes Parquet files. What cannot
be kept is counted.
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
    """Takes decisions without making the request wait."""

    def record(self, decision: Decision) -> None: ...


class DecisionLog:
    """Writes decisions to Parquet files below ``folder`` from a thread of its own.

    While the disk takes nothing, decisions wait in memory, and are tried again every
    ``flush_seconds``. ``dropped`` counts those that did not fit there or could not be written at
    the end, ``written`` those in a file; ``problem`` says why the last file could not be written.
    ``now`` gives seconds since the epoch by a clock that does not jump ahead: files are removed by
    it. ``write`` raises OSError for what may work later.
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
        """Begin to write in the background."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    def record(self, decision: Decision) -> None:
        """Keep a decision for the next file, or count it as dropped if too many wait."""
        with self._lock:
            if len(self._pending) >= self._settings.capacity:
                self.dropped += 1
                return
            self._pending.append(decision)
            full = len(self._pending) >= self._settings.rows_per_file
        # A disk that is full is not asked again by every request.
        if full and self.problem is None:
            self._wake.set()

    def close(self) -> None:
        """Write what waits and stop; what still cannot be written is lost, and counted."""
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

    def flush(self, least: int = 1) -> None:
        """Write what waits now, in files of at most ``rows_per_file`` rows and ``least`` ones.

        What comes meanwhile waits for the next time: under load something always does.
        """
        with self._writing:
            waiting = len(self._pending)
            while waiting >= least:
                # Only this takes from the front, and only records add, at the end.
                batch = self._pending[: min(waiting, self._settings.rows_per_file)]
                if not self._write(batch):
                    return
                with self._lock:
                    del self._pending[: len(batch)]
                waiting -= len(batch)

    def _run(self) -> None:
        tidy_at = self._now()
        while not self._closing:
            if self._now() >= tidy_at:
                tidy_at = self._now() + _HOUR
                self._tidy()
            is_full = self._wake.wait(self._settings.flush_seconds)
            self._wake.clear()
            self.flush(self._settings.rows_per_file if is_full else 1)

    def _tidy(self) -> None:
        """Remove what a crash left, and what is older than files are kept."""
        days = self._settings.days
        try:
            removed = remove_leftovers(self._folder)
            if days is not None:
                removed += remove_older(self._folder, self._now() - days * _DAY)
        except OSError as error:
            log.warning("old files of decisions could not be removed: %s", error)
            return
        if removed:
            log.info("%d old files of decisions removed", removed)

    def _write(self, batch: list[Decision]) -> bool:
        """Whether the batch is done with: in a file, or such that no file can ever hold it."""
        try:
            path = self._write_file(self._folder, batch)
        except OSError as error:
            if self.problem is None:
                log.warning("decisions wait in memory, as they cannot be written: %s", error)
            self.problem = str(error)
            return False
        except Exception:
            # Whatever the cause, the thread must live on: later decisions may fit a file.
            with self._lock:
                self.dropped += len(batch)
            log.exception("%d decisions fit no file and are lost", len(batch))
            return True
        self.problem = None
        self.written += len(batch)
        log.info("%d decisions written to %s", len(batch), path.name)
        return True
