"""An answer comes in its deadline or is refused, and what comes too late takes nothing."""

import asyncio
import threading

import pytest

from serving.errors import OutOfTime
from serving.models.rankers import RuleRanker
from serving.models.slot import Models
from serving.recommend.decision import Records
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
from serving.runtime.clock import Clock
from serving.runtime.deadline import NEVER, Deadline, TimeLimit
from serving.runtime.threads import StartedCoroutine, Threads
from serving.schemas.recommendation import RecommendationRequest
from tests.support.serving_fakes import (
    WATERMARK,
    FakeLedger,
    FakeLog,
    FakeOnline,
    FakeRanker,
    coupon,
    index_of,
    user,
)
from tests.support.serving_services import ASK, assert_problem, post, service

SECONDS = 0.05


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_is_over_at_the_end_and_not_before():
    timer = Timer()
    deadline = Deadline(2.0, timer)
    timer.now = 1.999
    deadline.check()
    timer.now = 2.0
    with pytest.raises(OutOfTime, match="within 2 seconds"):
        deadline.check()


def test_without_a_deadline_there_is_no_end():
    async def wait() -> str:
        with NEVER().kept():
            await asyncio.sleep(0)
            return "done"

    assert asyncio.run(wait()) == "done"
    NEVER().check()


def test_what_hangs_in_a_thread_is_given_up():
    free = threading.Event()

    async def wait() -> None:
        with Deadline(SECONDS, asyncio.get_running_loop().time).kept():
            await Threads(1).run(free.wait, 10)

    with pytest.raises(OutOfTime):
        asyncio.run(wait())
    free.set()


def test_timeout_of_something_else_stays_what_it_is():
    async def fail() -> None:
        with Deadline(60, asyncio.get_running_loop().time).kept():
            raise TimeoutError("of a socket")

    with pytest.raises(TimeoutError, match="of a socket"):
        asyncio.run(fail())


class SlowLedger(FakeLedger):
    """Answers ``usage`` once it is free to."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.done = threading.Event(), threading.Event()

    def usage(self, *asked):
        self.free.wait(10)
        self.done.set()
        return super().usage(*asked)


LIMITED = index_of(coupon("a", "1"), terms={"a": {"total_limit": 5}})
REQUEST = RecommendationRequest(user_id="900", placement="home")


def recommender(ledger, log, timer, seconds: float, ranker=None) -> Recommender:
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    return Recommender(
        reads=Reads(online, lambda: LIMITED, online),
        rankers=Rankers(lambda: Models(ranker or RuleRanker())),
        records=Records(log),
        clock=Clock(lambda: WATERMARK),
        new_id=lambda: "request-1",
        limits=Limits(ledger=ledger),
        deadline=lambda: Deadline(seconds, timer),
    )


def test_decision_that_comes_too_late_reserves_nothing_and_is_not_logged():
    ledger, log = SlowLedger(), FakeLog()

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        decides = recommender(ledger, log, loop.time, SECONDS)
        with pytest.raises(OutOfTime):
            await decides.recommend(REQUEST)
        ledger.free.set()
        await asyncio.to_thread(decides.close)

    asyncio.run(ask())
    assert ledger.done.is_set() and ledger.claims == [] and log.decisions == []


def test_answer_that_was_scored_too_late_is_not_logged():
    timer, log = Timer(), FakeLog()

    class SlowRanker(FakeRanker):
        def score(self, inputs):
            timer.now = 3.0
            return super().score(inputs)

    decides = recommender(FakeLedger(), log, timer, 2.0, SlowRanker())
    with pytest.raises(OutOfTime):
        asyncio.run(decides.recommend(REQUEST))
    assert log.decisions == []


def test_refusal_for_want_of_time_is_a_problem_that_says_when_to_come_again():
    found = service(deadline=lambda: Deadline(0.0, lambda: 0.0))
    answer = post(found, json=ASK)
    assert assert_problem(answer, 503)["type"] == "urn:clipwise:problem:out-of-time"
    assert answer.headers["retry-after"] == "1"


def test_who_is_cancelled_by_another_is_not_told_of_a_time_limit():
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


def test_after_a_time_limit_the_task_goes_on():
    async def wait() -> tuple[bool, int]:
        with pytest.raises(TimeoutError), TimeLimit(0.01) as limit:
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return limit.expired and limit.late >= 0, asyncio.current_task().cancelling()

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


def test_what_is_begun_runs_to_where_it_waits_and_goes_on_when_awaited():
    seen = []

    async def work(waits: int) -> str:
        seen.append("begun")
        for _ in range(waits):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001 if waits else 0)
        seen.append("done")
        return "result"

    async def use() -> None:
        for waits in (0, 2):
            seen.clear()
            begun = StartedCoroutine(work(waits))
            assert seen == ["begun"]
            assert await begun == "result" and seen == ["begun", "done"]

    asyncio.run(use())


def test_what_is_begun_and_never_waits_is_done_at_once():
    async def work() -> None:
        return None

    async def use() -> None:
        assert await StartedCoroutine(work()) is None

    asyncio.run(use())


def test_what_ends_who_waits_reaches_what_was_begun():
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


def test_what_fails_after_it_was_begun_fails_who_awaits_it():
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def use() -> None:
        await StartedCoroutine(work())

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(use())
