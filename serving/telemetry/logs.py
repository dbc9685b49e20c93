"""The service's log: one JSON object per line, with the id of its request.

No line contains data of a user: a request is named by its id and the path template of its route. An
exception inside a request is logged by its type and traceback only, because its message may repeat
what the client sent.
"""

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

REQUEST_ID_HEADER = "x-request-id"

_VALID_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CLOSE_SECONDS = 2.0

# json.dumps would build an encoder for every line.
_in_json = json.JSONEncoder(default=str).encode

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin_request(sent: bytes | None) -> str:
    """Sets the id of the current request and returns it: the client's if valid, else a new one."""
    name = sent.decode() if sent and _VALID_ID.fullmatch(sent) else new_id()
    _request_id.set(name)
    return name


def current_request_id() -> str:
    """Returns the id of the current request, or a new id outside of any request."""
    return _request_id.get() or new_id()


def new_id() -> str:
    """Returns a unique id: 128 random bits in hex, in a third of the time of a UUID."""
    return os.urandom(16).hex()


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; ``extra={"fields": {...}}`` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", None) or _request_id.get()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id is not None:
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            line |= _failure(record.exc_info[1], with_message=request_id is None)
        return _in_json(line)


def _failure(error: BaseException, with_message: bool) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    kind = type(error)
    found: dict[str, object] = {
        "error": f"{kind.__module__}.{kind.__qualname__}",
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if with_message:
        found["error_message"] = str(error)
    cause = error.__cause__ or error.__context__
    if cause is not None:
        found["cause"] = _failure(cause, with_message)
    return found


class NonBlockingLines(logging.Handler):
    """Writes lines in batches from its own thread, so that no request waits for the reader.

    If the reader stops and ``capacity`` lines wait, further lines are dropped. ``dropped`` counts
    them. An error is written at once, other lines within ``seconds``.
    """

    def __init__(self, stream: TextIO, capacity: int = 10_000, seconds: float = 0.2) -> None:
        super().__init__()
        self._stream = stream
        self._capacity = capacity
        self._seconds = seconds
        self._records: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the record for the thread, with the request id, which only this thread has."""
        if len(self._records) >= self._capacity:
            self.dropped += 1
            return
        record.request_id = _request_id.get()
        self._records.append(record)
        if record.levelno >= logging.ERROR:
            self._wake.set()

    def close(self) -> None:
        """Writes the queued lines, for at most two seconds."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(self._seconds)
            self._wake.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        records = [self._records.popleft() for _ in range(len(self._records))]
        lines = list(filter(None, map(self._line, records)))
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += len(lines)

    def _line(self, record: logging.LogRecord) -> str | None:
        try:
            return self.format(record)
        except Exception:
            self.handleError(record)
            return None


_LEVELS_OF_LIBRARIES = {
    "alembic": logging.WARNING,
    "feast": logging.WARNING,
    "mlflow": logging.WARNING,
    # A collector that is down then logs one error per batch, not also one per attempt.
    "opentelemetry": logging.ERROR,
}


def log_to_stderr() -> None:
    """Sends everything from INFO on to standard error, as JSON lines. For entry points."""
    handler = NonBlockingLines(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name, level in _LEVELS_OF_LIBRARIES.items():
        logging.getLogger(name).setLevel(level)
    _skip_unused_fields()


def _skip_unused_fields() -> None:
    """Stops logging from collecting source, thread and process of each record.

    No format prints them. See "Optimization" in Python's logging HOWTO.
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def dropped_lines() -> int:
    """Returns the number of lines dropped because the reader was too slow."""
    handlers = logging.getLogger().handlers
    return sum(one.dropped for one in handlers if isinstance(one, NonBlockingLines))
