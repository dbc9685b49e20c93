"""Started coroutines, and the thread pool for decisions."""

import asyncio
import threading

import pytest

from serving.runtime.deadline import TimeLimit
from serving.runtime.threads import StartedCoroutine, Threads


def test_started_coroutine_runs_to_its_first_wait_and_continues_when_awaited():
    steps = []

    async def work(waits: int) -> str:
        steps.append("started")
        for _ in range(waits):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001 if waits else 0)
        steps.append("done")
        return "result"

    async def use() -> None:
        for waits in (0, 2):
            steps.clear()
            started = StartedCoroutine(work(waits))
            assert steps == ["started"]
            assert await started == "result" and steps == ["started", "done"]

    asyncio.run(use())


def test_coroutine_that_never_waits_is_done_when_it_is_created():
    steps = []

    async def work() -> str:
        steps.append("done")
        return "result"

    async def use() -> None:
        started = StartedCoroutine(work())
        assert steps == ["done"]
        assert await started == "result"

    asyncio.run(use())


def test_cancellation_of_the_caller_reaches_the_started_coroutine():
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def use() -> None:
        with TimeLimit(0.01):
            await StartedCoroutine(work())

    with pytest.raises(TimeoutError):
        asyncio.run(use())
    assert ended == ["cancelled"]


def test_error_of_a_started_coroutine_is_raised_where_it_is_awaited():
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def use() -> None:
        started = StartedCoroutine(work())
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="broken"):
            await started

    asyncio.run(use())


def test_queued_calls_are_dropped_when_the_pool_closes():
    free, calls = threading.Event(), []

    async def use() -> None:
        pool = Threads(1)
        running = asyncio.ensure_future(pool.run(free.wait, 10))
        queued = asyncio.ensure_future(pool.run(calls.append, "queued"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, free.set)
        await asyncio.to_thread(pool.close)
        assert await running is True
        with pytest.raises(asyncio.CancelledError):
            await queued

    asyncio.run(use())
    assert calls == []
