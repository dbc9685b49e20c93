"""A user is read within a timeout, and a store in trouble is not read for a while."""

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates.index import index_from_columns
from serving.online.presence import Presence
from serving.online.resilient_users import ResilientUsers
from serving.online.settings import OnlineSettings
from serving.schemas.degradation import CACHED_FEATURES, COLD_START_FEATURES, ONLINE_STORE
from tests.support.serving_fakes import Timer, columns_of, coupon
from tests.support.serving_services import call, service

SETTINGS = OnlineSettings(deadline_seconds=0.02, failures=3, pause_seconds=10.0, cached_users=2)
COLD, CACHED = (ONLINE_STORE, COLD_START_FEATURES), (ONLINE_STORE, CACHED_FEATURES)


class Store:
    """Returns users, fails, is slow or hangs, as ``mode`` states, and counts its reads."""

    def __init__(self) -> None:
        self.reads, self.mode, self.version = 0, "answers", 1

    async def user(self, user_id: str) -> dict:
        self.reads += 1
        if self.mode == "hangs":
            await asyncio.sleep(60)
        if self.mode == "slow":
            await asyncio.sleep(0.01)
        if self.mode == "fails":
            raise ConnectionError("refused")
        return {"user_id": user_id, "version": self.version}

    def unknown_user(self) -> dict:
        return {"user_id": None, "version": None}


@pytest.fixture
def store() -> Store:
    return Store()


def read(users: ResilientUsers, *ids: str) -> list:
    async def each() -> list:
        return [await users.read(one) for one in ids]

    return asyncio.run(each())


def test_store_that_came_back_empty_is_reported_and_requests_are_still_answered(store):
    stored = {"valid_to_timestamp": [1]}
    columns = columns_of(coupon("milk", "1"))
    presence = Presence(lambda ids: stored, lambda: index_from_columns(columns))
    users = ResilientUsers(store, SETTINGS, Timer(), lambda: presence.is_lost)
    presence.check()
    assert read(users, "a")[0][1] == ()
    stored["valid_to_timestamp"] = [None]
    presence.check()
    assert read(users, "a", "b") == [
        ({"user_id": "a", "version": 1}, CACHED),
        ({"user_id": None, "version": None}, COLD),
    ]
    notes = call(service(online_is_lost=lambda: presence.is_lost), ("GET", "/readyz", {}))[0].json()
    assert any("lost its features" in note for note in notes["notes"])
    stored["valid_to_timestamp"] = [1]
    presence.check()
    assert read(users, "a")[0][1] == ()


def test_store_that_was_always_empty_is_not_lost():
    presence = Presence(lambda ids: {"valid_to_timestamp": [None]}, lambda: None)
    presence.check()
    assert not presence.is_lost


def test_timeout_of_a_blocked_event_loop_does_not_count_against_the_store(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    store.mode = "slow"

    async def blocked() -> list:
        asyncio.get_running_loop().call_later(0.005, time.sleep, 0.2)
        return await asyncio.gather(*(users.read("a") for _ in range(10)))

    assert [degraded for _, degraded in asyncio.run(blocked())] == [()] * 10
    assert not users.is_down
    store.mode = "answers"
    assert read(users, "a") == [({"user_id": "a", "version": 1}, ())]


@pytest.mark.parametrize("mode", ["fails", "hangs"])
def test_store_in_trouble_gives_the_cached_user_or_an_unknown_one(store, mode):
    users = ResilientUsers(store, SETTINGS, Timer())
    assert read(users, "a") == [({"user_id": "a", "version": 1}, ())]
    store.mode = mode
    assert read(users, "a", "b") == [
        ({"user_id": "a", "version": 1}, CACHED),
        ({"user_id": None, "version": None}, COLD),
    ]


def test_user_is_read_again_while_the_store_answers(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    read(users, "a")
    store.version = 2
    assert read(users, "a") == [({"user_id": "a", "version": 2}, ())]


def test_failing_store_is_read_once_a_pause_and_fully_used_after_its_first_answer(store):
    timer = Timer()
    users = ResilientUsers(store, SETTINGS, timer)
    store.mode = "fails"
    read(users, *"abcdefgh")
    assert store.reads == 3 and users.is_down
    timer.now = 9.9
    read(users, "a")
    assert store.reads == 3
    timer.now = 10.0
    read(users, "a", "b")
    assert store.reads == 4
    store.mode, timer.now = "answers", 20.0
    assert [degraded for _, degraded in read(users, "a", "b")] == [(), ()]
    assert not users.is_down


def test_one_failure_among_answers_does_not_count_as_down(store):
    users = ResilientUsers(store, SETTINGS, Timer())
    for mode in ("fails", "fails", "answers", "fails", "fails"):
        store.mode = mode
        read(users, "a")
    assert store.reads == 5 and not users.is_down


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_the_users_read_last_stay_cached(ids):
    store = Store()
    users = ResilientUsers(store, replace(SETTINGS, failures=99), Timer())
    read(users, *ids)
    store.mode = "fails"
    kept = list(dict.fromkeys(reversed(ids)))[:2]
    assert users.cached_ids() == kept
    found = {one: degraded for one in "abcd" for _, degraded in read(users, one)}
    assert found == {one: CACHED if one in kept else COLD for one in "abcd"}


def test_prefetched_user_evicts_no_cached_one(store):
    users = ResilientUsers(store, replace(SETTINGS, cached_users=3, failures=99), Timer())
    read(users, "a", "b")

    def prefetch(*ids: str) -> list:
        return [asyncio.run(users.prefetch(one)) for one in ids]

    assert prefetch("a", "c") == [{"user_id": "a", "version": 1}, {"user_id": "c", "version": 1}]
    assert users.cached_ids() == ["b", "a", "c"]
    prefetch("d")
    assert users.cached_ids() == ["b", "a", "c"]
    read(users, "d")
    assert users.cached_ids() == ["d", "b", "a"]
    store.mode = "fails"
    assert prefetch("a", "e") == [None, None]
