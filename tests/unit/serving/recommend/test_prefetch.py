"""Users are prefetched once an index, the most likely first, and not from a store in trouble."""

import asyncio
import logging

import pytest

from serving.recommend.prefetch import Prefetch


class Stop(Exception):
    """Ends a run after its last check of the index."""


class Shop:
    """A service of fakes. ``run`` prefetches, and changes the shop between checks of the index."""

    def __init__(self, cached=(), active=(), most=10):
        self.index, self.prefetched, self.active_queries = object(), [], 0
        self._cached, self.active_users, self._most = list(cached), active, most
        self.is_trusted = True

    def active(self):
        self.active_queries += 1
        if isinstance(self.active_users, Exception):
            raise self.active_users
        return self.active_users

    async def prefetch(self, user_id: str) -> bool:
        self.prefetched.append(user_id)
        return self.is_trusted

    def run(self, *changes) -> list[str]:
        """Runs until the index was checked once before, between and after the changes."""
        waiting = list(changes)

        async def sleep(seconds: float) -> None:
            # The pause between two users is 0 with this timer; the one between checks is 5.
            if seconds == 0:
                return
            if not waiting:
                raise Stop
            waiting.pop(0)()

        prefetch = Prefetch(
            self.prefetch,
            lambda: self.index,
            lambda: self._cached,
            self.active,
            self._most,
            5.0,
            timer=lambda: 0.0,
            sleep=sleep,
        )
        with pytest.raises(Stop):
            asyncio.run(prefetch.run())
        return self.prefetched


def test_cached_users_come_first_and_no_user_twice():
    shop = Shop(cached=["b", "a"], active=["c", "a", "d"])
    assert shop.run(lambda: None) == ["b", "a", "c", "d"]
    assert shop.active_queries == 1


def test_lake_is_not_queried_if_enough_users_are_cached_and_the_limit_holds():
    shop = Shop(cached=["a", "b", "c"], active=["d"], most=2)
    assert shop.run(lambda: None) == ["a", "b"]
    assert shop.active_queries == 0


def test_another_index_is_prefetched_from_the_start():
    shop = Shop(active=["a", "b"])
    assert shop.run(lambda: setattr(shop, "index", object())) == ["a", "b"] * 2


def test_nothing_is_prefetched_before_there_is_an_index():
    shop = Shop(active=["a"])
    shop.index = None
    assert shop.run(lambda: None) == []


def test_prefetching_stops_when_the_index_is_replaced_meanwhile():
    shop = Shop(active=["a", "b"])

    async def replacing(user_id: str) -> bool:
        shop.prefetched.append(user_id)
        if len(shop.prefetched) == 1:
            shop.index = object()
        return True

    shop.prefetch = replacing
    assert shop.run(lambda: None) == ["a", "a", "b"]


def test_store_in_trouble_is_left_alone_until_the_next_index():
    shop = Shop(active=["a", "b"])
    shop.is_trusted = False
    assert shop.run(lambda: None, lambda: setattr(shop, "index", object())) == ["a", "a"]


def test_failing_lake_is_logged_and_queried_again_at_the_next_index(caplog):
    shop = Shop(active=OSError("the disk is gone"))

    def mend() -> None:
        shop.index, shop.active_users = object(), ["a"]

    with caplog.at_level(logging.WARNING):
        shop.run(lambda: None, mend)

    assert shop.prefetched == ["a"] and caplog.text.count("the disk is gone") == 1


def test_prefetching_takes_a_fifth_of_the_time():
    now, pauses = [0.0], []

    async def prefetch(user_id: str) -> bool:
        now[0] += 0.1
        return True

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if seconds == 5.0:
            raise Stop

    index = object()
    likely = Prefetch(
        prefetch, lambda: index, lambda: ["a"], list, 1, 5.0, timer=lambda: now[0], sleep=sleep
    )
    with pytest.raises(Stop):
        asyncio.run(likely.run())
    assert pauses == [pytest.approx(0.4), 5.0]
