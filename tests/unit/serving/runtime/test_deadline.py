"""Request deadlines and time limits."""

import asyncio
import threading

import pytest

from serving.errors import OutOfTime
from serving.runtime.deadline import Deadline, TimeLimit, no_deadline
from serving.runtime.threads import Threads
from tests.support.serving_fakes import Timer

SECONDS = 0.05


def test_deadline_is_over_at_its_end_and_not_before():
    timer = Timer()
    deadline = Deadline(2.0, timer)
    timer.now = 1.999
    deadline.check()
    timer.now = 2.0
    with pytest.raises(OutOfTime, match="within 2 seconds"):
        deadline.check()


def test_without_a_deadline_there_is_no_end():
    async def wait() -> str:
        with no_deadline().time_limit():
            await asyncio.sleep(0)
            return "done"

    assert asyncio.run(wait()) == "done"
    no_deadline().check()


def test_call_that_hangs_in_a_thread_is_given_up():
    free = threading.Event()

    async def wait() -> None:
        with Deadline(SECONDS, asyncio.get_running_loop().time).time_limit():
            await Threads(1).run(free.wait, 10)

    with pytest.raises(OutOfTime):
        asyncio.run(wait())
    free.set()


def test_other_timeout_error_is_raised_unchanged():
    async def fail() -> None:
        with Deadline(60, asyncio.get_running_loop().time).time_limit():
            raise TimeoutError("of a socket")

    with pytest.raises(TimeoutError, match="of a socket"):
        asyncio.run(fail())


def test_cancellation_by_another_task_is_no_timeout():
    async def wait() -> None:
        with TimeLimit(60):
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


def test_task_continues_after_a_time_limit():
    async def wait() -> tuple[bool, int]:
        with pytest.raises(TimeoutError), TimeLimit(0.01) as limit:
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return limit.has_expired and limit.seconds_late >= 0, asyncio.current_task().cancelling()

    assert asyncio.run(wait()) == (True, 0)


def test_inner_time_limit_leaves_the_outer_one_alone():
    async def wait() -> str:
        with TimeLimit(60):
            try:
                with TimeLimit(0.01):
                    await asyncio.sleep(60)
            except TimeoutError:
                return "inner"

    assert asyncio.run(wait()) == "inner"
