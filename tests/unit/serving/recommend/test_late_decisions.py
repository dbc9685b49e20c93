"""A late answer gets 503, reserves nothing and is not logged."""

import asyncio
import threading

import pytest

from serving.errors import OutOfTime
from serving.models.rankers import RuleRanker
from serving.models.slot import Models
from serving.policy.scores import RULES
from serving.recommend.decision import Records
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
from serving.runtime.clock import Clock
from serving.runtime.deadline import Deadline
from serving.schemas.recommendation import RecommendationRequest
from tests.support.serving_fakes import (
    WATERMARK,
    FakeLedger,
    FakeLog,
    FakeOnline,
    FakeRanker,
    Timer,
    coupon,
    index_of,
    user,
)
from tests.support.serving_services import ASK, assert_problem, post, service

SECONDS = 0.05


class SlowLedger(FakeLedger):
    """Returns ``usage`` once ``free`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.done = threading.Event(), threading.Event()

    def usage(self, *arguments):
        self.free.wait(10)
        self.done.set()
        return super().usage(*arguments)


LIMITED = index_of(coupon("a", "1"), terms={"a": {"total_limit": 5}})
REQUEST = RecommendationRequest(user_id="900", placement="home")


def recommender(ledger, log, timer, seconds: float, ranker=None) -> Recommender:
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    return Recommender(
        reads=Reads(online, lambda at: LIMITED, online),
        rankers=Rankers(lambda key: Models(ranker or RuleRanker(RULES[key]))),
        records=Records(log),
        clock=Clock(lambda: WATERMARK),
        new_id=lambda: "request-1",
        limits=Limits(ledger=ledger),
        deadline=lambda: Deadline(seconds, timer),
    )


def test_late_decision_reserves_nothing_and_is_not_logged():
    ledger, log = SlowLedger(), FakeLog()

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        late = recommender(ledger, log, loop.time, SECONDS)
        with pytest.raises(OutOfTime):
            await late.recommend(REQUEST)
        ledger.free.set()
        await asyncio.to_thread(late.close)

    asyncio.run(ask())
    assert ledger.done.is_set() and ledger.claims == [] and log.decisions == []


def test_answer_scored_too_late_is_not_logged():
    timer, log = Timer(), FakeLog()

    class SlowRanker(FakeRanker):
        def score(self, inputs):
            timer.now = 3.0
            return super().score(inputs)

    late = recommender(FakeLedger(), log, timer, 2.0, SlowRanker())
    with pytest.raises(OutOfTime):
        asyncio.run(late.recommend(REQUEST))
    assert log.decisions == []


def test_late_answer_is_a_problem_that_states_when_to_retry():
    late = service(deadline=lambda: Deadline(0.0, lambda: 0.0))
    answer = post(late, json=ASK)
    assert assert_problem(answer, 503)["type"] == "urn:clipwise:problem:out-of-time"
    assert answer.headers["retry-after"] == "1"
