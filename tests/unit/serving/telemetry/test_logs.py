"""The log: request ids, failures, and a stream whose reader stops."""

import asyncio
import io
import json
import logging
import threading
import time

from serving.telemetry.logs import JsonLines, NonBlockingLines, begin_request, current_request_id


def test_thread_of_a_request_has_its_request_id():
    async def ask() -> str:
        begin_request(b"mine")
        return await asyncio.to_thread(current_request_id)

    assert asyncio.run(ask()) == "mine"


def test_every_request_id_outside_a_request_is_new():
    async def names() -> set[str]:
        return {current_request_id(), current_request_id()}

    assert len(asyncio.run(names())) == 2


def test_failure_outside_a_request_keeps_its_message():
    try:
        raise OSError("disk full") from ValueError("why")
    except OSError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (None, error, None))
    line = json.loads(JsonLines().format(record))
    assert line["error_message"] == "disk full" and line["cause"]["error_message"] == "why"


class _Blocked(io.StringIO):
    """A stream whose writes block until ``free`` is set."""

    def __init__(self):
        super().__init__()
        self.writing, self.free = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.writing.set()
        self.free.wait(10)
        return super().write(text)


def test_log_without_a_reader_drops_lines_and_delays_nothing():
    stream = _Blocked()
    handler = NonBlockingLines(stream, capacity=10, seconds=0.01)
    record = logging.LogRecord("x", logging.INFO, "", 0, "line", (), None)
    handler.emit(record)
    assert stream.writing.wait(5)
    start = time.perf_counter()
    for _ in range(15):
        handler.emit(record)
    assert time.perf_counter() - start < 1
    stream.free.set()
    handler.close()
    assert handler.dropped == 5 and stream.getvalue().count("line") == 11
