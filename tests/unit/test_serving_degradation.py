"""A user is read within a deadline, and a store in trouble is left alone for a while."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.degradation import CACHED_FEATURES, COLD_START_FEATURES, ONLINE_STORE, SteadyUsers
from serving.settings import OnlineSettings

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


def read(users: SteadyUsers, *ids: str) -> list:
    async def each() -> list:
        return [await users.read(one) for one in ids]

    return asyncio.run(each())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_store_in_trouble_gives_a_stranger_or_who_was_read_last(store, how):
    users = SteadyUsers(store, SETTINGS, Timer())
    assert read(users, "a") == [({"who": "a", "version": 1}, ())]
    store.how = how
    assert read(users, "a", "b") == [
        ({"who": "a", "version": 1}, CACHED),
        ({"who": None, "version": None}, COLD),
    ]


def test_a_user_is_read_anew_while_the_store_answers(store):
    users = SteadyUsers(store, SETTINGS, Timer())
    read(users, "a")
    store.version = 2
    assert read(users, "a") == [({"who": "a", "version": 2}, ())]


def test_a_store_that_keeps_failing_is_asked_once_a_pause_and_taken_back_at_once(store):
    timer = Timer()
    users = SteadyUsers(store, SETTINGS, timer)
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
    users = SteadyUsers(store, SETTINGS, Timer())
    for how in ("fails", "fails", "answers", "fails", "fails"):
        store.how = how
        read(users, "a")
    assert store.asked == 5 and not users.is_down


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_so_many_users_are_remembered_as_read_last(ids):
    store = Store()
    users = SteadyUsers(store, replace(SETTINGS, failures=99), Timer())
    read(users, *ids)
    store.how = "fails"
    kept = list(dict.fromkeys(reversed(ids)))[:2]
    found = {one: degraded for one in "abcd" for _, degraded in read(users, one)}
    assert found == {one: CACHED if one in kept else COLD for one in "abcd"}
