"""The service's log: one JSON object a line, each with the id of the request it is about.

No line says anything about a user: requests are named by their id and the route's template. What
fails while one is answered is logged by its type and place alone, since the message of an exception
may repeat what the client sent.
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

_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CLOSE_SECONDS = 2.0

# json.dumps would make an encoder for every line.
_in_json = json.JSONEncoder(default=str).encode

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin_request(sent: bytes | None) -> str:
    """Name the request that is answered from here on: as its client did, if that is sane."""
    name = sent.decode() if sent and _SANE.fullmatch(sent) else new_id()
    _request_id.set(name)
    return name


def current_request_id() -> str:
    """The id of the request that is answered here, or a new one outside any."""
    return _request_id.get() or new_id()


def new_id() -> str:
    """A name that no other request has: 128 random bits in hex, a third of a UUID's time."""
    return os.urandom(16).hex()


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; ``extra={"fields": {...}}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", None) or _request_id.get()
        line = {
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
    """Writes lines in batches from a thread of its own: nobody waits for who reads them.

    A reader that stops reading costs lines, which are counted in ``dropped``, and no request. An
    error is written at once, all else within ``seconds``.
    """

    def __init__(self, stream: TextIO, waiting: int = 10_000, seconds: float = 0.2) -> None:
        super().__init__()
        self._stream = stream
        self._most = waiting
        self._seconds = seconds
        self._records: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Leave the record to the thread, with what only this one knows: its request."""
        if len(self._records) >= self._most:
            self.dropped += 1
            return
        record.request_id = _request_id.get()
        self._records.append(record)
        if record.levelno >= logging.ERROR:
            self._wake.set()

    def close(self) -> None:
        """Write what waits, for at most two seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while not self._closing:
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


_CHATTY = {
    "alembic": logging.WARNING,
    "feast": logging.WARNING,
    "mlflow": logging.WARNING,
    # A collector that is down is one error a batch, not one more for each attempt.
    "opentelemetry": logging.ERROR,
}


def log_to_stderr() -> None:
    """Send everything from INFO on to standard error, as JSON lines. For entry points."""
    handler = NonBlockingLines(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name, level in _CHATTY.items():
        logging.getLogger(name).setLevel(level)
    _skip_unused_fields()


def _skip_unused_fields() -> None:
    """What no line says is not looked up for every line: where it came from, thread, process.

    See "Optimization" in the logging HOWTO of Python.
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def dropped_lines() -> int:
    """How many lines nobody took."""
    handlers = logging.getLogger().handlers
    return sum(one.dropped for one in handlers if isinstance(one, NonBlockingLines))
