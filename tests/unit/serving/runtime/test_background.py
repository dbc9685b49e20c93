"""Background tasks: repeated, logged once a failure, and abandoned if they hang."""

import threading
import time

from serving.errors import ModelError
from serving.runtime.background import Background


def test_tasks_ran_once_when_start_returns():
    ran = []
    background = Background(60, lambda: ran.append("a"), lambda: ran.append("b"))
    background.start()
    background.stop()
    assert ran == ["a", "b"]


def test_tasks_run_again_until_stopped():
    thrice = threading.Event()
    count = iter(range(100))

    def task() -> None:
        if next(count) == 2:
            thrice.set()

    background = Background(0.001, task)
    background.start()
    assert thrice.wait(5)
    background.stop()


def test_failing_task_stops_neither_the_others_nor_later_runs():
    ran = []

    def fail() -> None:
        raise OSError("disk full")

    background = Background(60, fail, lambda: ran.append(1))
    background.run_once()
    background.run_once()
    assert ran == [1, 1]


def test_failure_that_stays_the_same_is_logged_once(caplog):
    failures = [ModelError("one"), ModelError("one"), ModelError("two")]

    def fail() -> None:
        raise failures.pop(0)

    background = Background(60, fail)
    for _ in range(3):
        background.run_once()
    assert [record.args[0].args[0] for record in caplog.records] == ["one", "two"]


def test_task_that_hangs_delays_neither_the_start_nor_the_stop(caplog):
    free, start = threading.Event(), time.monotonic()
    background = Background(60, free.wait, timeout=0.05)
    background.start()
    background.stop()
    assert time.monotonic() - start < 5
    assert "hangs" in caplog.text
    free.set()
