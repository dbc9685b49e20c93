"""A user is read within a deadline, and a store in trouble is left alone for a while."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates.index import index_from_columns
from serving.errors import ModelError, StorageFailed
from serving.ledger.resilient_ledger import ResilientLedger
from serving.online.presence import Presence
from serving.online.resilient_users import ResilientUsers
from serving.online.settings import OnlineSettings
from serving.runtime.clock import Clock
from serving.schemas.degradation import CACHED_FEATURES, COLD_START_FEATURES, KINDS, ONLINE_STORE
from tests.support.serving_fakes import (
    WATERMARK,
    FakeLedger,
    FakeOnline,
    FakeRegistry,
    columns_of,
    coupon,
    user,
)
from tests.support.serving_services import ASK, call, service

SETTINGS = OnlineSettings(deadline_seconds=0.02, failures=3, pause_seconds=10.0, remembered=2)
COLD, CACHED = (ONLINE_STORE, COLD_START_FEATURES), (ONLINE_STORE, CACHED_FEATURES)


class Store:
    """Answers, fails or hangs as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked, self.how, self.version = 0, "answers", 1

    async def user(self, user_id: str) -> dict:
        self.asked += 1
        if self.how == "hangs":
            await asyncio.sleep(60)
        if self.how == "dawdles":
            await asyncio.sleep(0.01)
        if self.how == "fails":
            raise ConnectionError("refused")
        return {"who": user_id, "version": self.version}

    def nobody(self) -> dict:
        return {"who": None, "version": None}


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


def read(users: ResilientUsers, *ids: str) -> list:
    async def each() -> list:
        return [await users.read(one) for one in ids]

    return asyncio.run(each())


def test_store_that_came_back_empty_is_told_and_keeps_nobody_from_an_answer(store):
    held = {"valid_to_timestamp": [1]}
    columns = columns_of(coupon("milk", "1"))
    presence = Presence(lambda ids: held, lambda: index_from_columns(columns))
    users = ResilientUsers(store, SETTINGS, Timer(), lambda: presence.is_lost)
    presence.look()
    assert read(users, "a")[0][1] == ()
    held["valid_to_timestamp"] = [None]
    presence.look()
    assert read(users, "a", "b") == [
        ({"who": "a", "version": 1}, CACHED),
        ({"who": None, "version": None}, COLD),
    ]
    notes = call(service(online_is_lost=lambda: presence.is_lost), ("GET", "/readyz", {}))[0].json()
    assert any("lost what was materialized" in note for note in notes["notes"])
    held["valid_to_timestamp"] = [1]
    presence.look()
    assert read(users, "a")[0][1] == ()


def test_store_of_which_nothing_was_ever_read_is_not_lost():
    presence = Presence(lambda ids: {"valid_to_timestamp": [None]}, lambda: None)
    presence.look()
    assert not presence.is_lost


def test_process_that_comes_too_late_itself_does_not_give_up_the_store(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    store.how = "dawdles"

    async def stalled() -> list:
        asyncio.get_running_loop().call_later(0.005, time.sleep, 0.2)
        return await asyncio.gather(*(users.read("a") for _ in range(10)))

    assert [lacks for _, lacks in asyncio.run(stalled())] == [()] * 10
    assert not users.is_down
    store.how = "answers"
    assert read(users, "a") == [({"who": "a", "version": 1}, ())]


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_store_in_trouble_gives_a_stranger_or_who_was_read_last(store, how):
    users = ResilientUsers(store, SETTINGS, Timer())
    assert read(users, "a") == [({"who": "a", "version": 1}, ())]
    store.how = how
    assert read(users, "a", "b") == [
        ({"who": "a", "version": 1}, CACHED),
        ({"who": None, "version": None}, COLD),
    ]


def test_a_user_is_read_anew_while_the_store_answers(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    read(users, "a")
    store.version = 2
    assert read(users, "a") == [({"who": "a", "version": 2}, ())]


def test_a_store_that_keeps_failing_is_asked_once_a_pause_and_taken_back_at_once(store):
    timer = Timer()
    users = ResilientUsers(store, SETTINGS, timer)
    store.how = "fails"
    read(users, *"abcdefgh")
    assert store.asked == 3 and users.is_down
    timer.now = 9.9
    read(users, "a")
    assert store.asked == 3
    timer.now = 10.0
    read(users, "a", "b")
    assert store.asked == 4
    store.how, timer.now = "answers", 20.0
    assert [degraded for _, degraded in read(users, "a", "b")] == [(), ()]
    assert not users.is_down


def test_one_failure_among_answers_does_not_count_as_down(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    for how in ("fails", "fails", "answers", "fails", "fails"):
        store.how = how
        read(users, "a")
    assert store.asked == 5 and not users.is_down


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_so_many_users_are_remembered_as_read_last(ids):
    store = Store()
    users = ResilientUsers(store, replace(SETTINGS, failures=99), Timer())
    read(users, *ids)
    store.how = "fails"
    kept = list(dict.fromkeys(reversed(ids)))[:2]
    assert users.held() == kept
    found = {one: degraded for one in "abcd" for _, degraded in read(users, one)}
    assert found == {one: CACHED if one in kept else COLD for one in "abcd"}


def test_who_is_read_ahead_pushes_nobody_out_and_takes_nobodys_place(store):
    users = ResilientUsers(store, replace(SETTINGS, remembered=3, failures=99), Timer())
    read(users, "a", "b")

    def ahead(*ids: str) -> list:
        return [asyncio.run(users.ahead(one)) for one in ids]

    assert ahead("a", "c") == [{"who": "a", "version": 1}, {"who": "c", "version": 1}]
    assert users.held() == ["b", "a", "c"]
    ahead("d")
    assert users.held() == ["b", "a", "c"]
    read(users, "d")
    assert users.held() == ["d", "b", "a"]
    store.how = "fails"
    assert ahead("a", "e") == [None, None]


def test_ledger_that_failed_is_left_alone_for_a_pause_by_every_request():
    timer, behind = Timer(), FakeLedger(broken=True)
    ledger = ResilientLedger(behind, 1.0, timer)
    with pytest.raises(StorageFailed, match="could not be used"):
        ledger.usage("a", 0, 1)
    behind.broken = False
    for ask in (lambda: ledger.usage("b", 0, 1), lambda: ledger.claim("b", [], 0)):
        with pytest.raises(StorageFailed, match="left alone"):
            ask()
    assert behind.asked == behind.claims == []
    ledger.redeem([])
    assert ledger.identity() == behind.name
    timer.now = 1.0
    assert ledger.usage("b", 0, 1) == behind.known and ledger.claim("b", [], 0) == {}


def lacking(online=None, started=None, **ask) -> tuple[list[str], str]:
    """What an answer's header says it lacks, and the metrics after it."""
    more = {} if online is None else {"online": online}
    made = started or service(**more)
    answer, metrics = call(
        made, ("POST", "/v1/recommendations", {"json": ASK | ask}), ("GET", "/metrics", {})
    )
    assert answer.status_code == 200
    return answer.headers.get("x-clipwise-degraded", "").split(", "), metrics.text


REACHED = user(campaign_ids=["1"], purchase_count_all=3)


@pytest.mark.parametrize(
    "kinds, case",
    [
        (["unknown-user", "no-candidates"], {"user_id": "nobody"}),
        (["stale-features"], {"online": FakeOnline({"900": REACHED}, stale=("user_profile",))}),
        (["no-candidates"], {"online": FakeOnline({"900": user(purchase_count_all=3)})}),
        (
            ["registry"],
            {"started": service(registry=FakeRegistry(ModelError("The registry is gone.")))},
        ),
    ],
)
def test_every_lack_is_in_the_header_and_counted(kinds, case):
    told, metrics = lacking(**case)
    assert told == kinds
    for kind in KINDS:
        count = 1.0 if kind in kinds else 0.0
        assert f'clipwise_degraded_total{{kind="{kind}"}} {count}' in metrics


def test_whole_answer_has_no_header():
    assert lacking()[0] == [""]


@pytest.mark.parametrize("down", [True, False])
def test_readiness_says_that_the_online_store_is_left_alone(down):
    (answer,) = call(service(online_is_down=lambda: down), ("GET", "/readyz", {}))
    assert answer.status_code == 200
    assert any("online store" in note for note in answer.json()["notes"]) == down


class Aging(FakeOnline):
    """Features that are stale after a day."""

    def stale_features(self, as_of):
        return ["user_profile"] if as_of - WATERMARK > timedelta(days=1) else []


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(hours=-5)])
def test_clock_that_jumps_and_comes_back_leaves_nothing_behind(jump):
    now, decided = [WATERMARK], {}
    online = Aging({"900": REACHED})
    made = service(online, clock=Clock(lambda: now[0]))
    for name, offset in (("before", timedelta()), ("jumped", jump), ("after", timedelta())):
        now[0] = WATERMARK + offset
        decided[name] = lacking(started=made)[0]
    gone = jump > timedelta(days=1)
    assert decided["before"] == decided["after"] == [""]
    assert decided["jumped"] == (["stale-features", "no-candidates"] if gone else [""])
