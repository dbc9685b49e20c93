"""The decision log: what was shown to whom, from what, with which probability and by which model.

Requests hand their decision over and go on; a thread of its own writes Parquet files, each first
under a temporary name. What cannot be kept is counted.
"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from serving.clock import from_microseconds
from serving.settings import DecisionLogSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """One answered request. ``event_timestamp`` is the instant decided for, in microseconds UTC.

    ``candidate_ids`` are all coupons that were scored, ``coupon_ids`` the ``n`` shown ones, best
    first; ``features`` is float32 of shape ``(n, len(RANKER_INPUTS))``, ``scores`` and
    ``propensities`` have ``n`` values; ``removed`` is a JSON object of counts by rule.
    """

    request_id: str
    event_timestamp: int
    user_id: str
    placement: str
    candidate_ids: Sequence[str]
    coupon_ids: Sequence[str]
    features: np.ndarray
    scores: np.ndarray
    propensities: np.ndarray
    model_name: str
    model_version: str
    feature_service: str
    removed: str
    cold_start: bool
    stale_features: Sequence[str]


class DecisionSink(Protocol):
    """Takes decisions without making the request wait."""

    def record(self, decision: Decision) -> None: ...


class DecisionLog:
    """Writes decisions to Parquet files below ``folder`` from a thread of its own.

    ``dropped`` counts those that did not fit in memory or could not be written; ``written`` the
    others that reached a file.
    """

    def __init__(self, folder: Path, settings: DecisionLogSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._pending: list[Decision] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.written = 0

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
        if full:
            self._wake.set()

    def close(self) -> None:
        """Write what waits and stop."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()

    def flush(self) -> None:
        """Write what waits now, in files of at most ``rows_per_file`` rows."""
        with self._lock:
            waiting, self._pending = self._pending, []
        step = self._settings.rows_per_file
        for start in range(0, len(waiting), step):
            self._write(waiting[start : start + step])

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._settings.flush_seconds)
            self._wake.clear()
            self.flush()

    def _write(self, decisions: list[Decision]) -> None:
        try:
            path = write_decisions(self._folder, decisions)
        except Exception:
            # Whatever the cause, the thread must live on: later decisions may fit again.
            with self._lock:
                self.dropped += len(decisions)
            log.exception("%d decisions could not be written and are lost", len(decisions))
            return
        self.written += len(decisions)
        log.info("%d decisions written to %s", len(decisions), path.name)


def write_decisions(folder: Path, decisions: Sequence[Decision]) -> Path:
    """Write one Parquet file, named after the instant and id of its first decision.

    Readers see the whole file or none of it. Raises OSError.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    first = decisions[0]
    instant = from_microseconds(first.event_timestamp)
    path = folder / f"{instant:%Y%m%dT%H%M%S}-{first.request_id}.parquet"
    temporary = path.with_suffix(".tmp")
    try:
        pq.write_table(_table(decisions), temporary, compression="zstd")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _table(decisions: Sequence[Decision]):
    import pyarrow as pa

    schema = decision_schema()
    columns = [
        pa.array([_plain(getattr(decision, field.name)) for decision in decisions], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def decision_schema():
    """The Arrow schema of a decision file."""
    import pyarrow as pa

    text, texts, reals = pa.string(), pa.list_(pa.string()), pa.list_(pa.float64())
    types = {
        "request_id": text,
        "event_timestamp": pa.timestamp("us", tz="UTC"),
        "user_id": text,
        "placement": text,
        "candidate_ids": texts,
        "coupon_ids": texts,
        "features": pa.list_(pa.list_(pa.float32())),
        "scores": reals,
        "propensities": reals,
        "model_name": text,
        "model_version": text,
        "feature_service": text,
        "removed": text,
        "cold_start": pa.bool_(),
        "stale_features": texts,
    }
    return pa.schema(list(types.items()))
