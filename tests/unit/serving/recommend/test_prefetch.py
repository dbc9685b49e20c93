"""Who is likely to come is read ahead: once an index, most likely first, and not from a store that
is in trouble."""

import asyncio
import logging

from serving.recommend.prefetch import Prefetch


class Shop:
    """Everything that is read ahead stands here; a test changes it while the warming runs."""

    def __init__(self, held=(), active=(), most=10):
        self.index, self.asked, self.active_asked = object(), [], 0
        self._held, self._active = list(held), active
        self.warming = Prefetch(
            self.ahead, lambda: self.index, self.held, self.active, most, seconds=0.001
        )

    def held(self):
        return self._held

    def active(self):
        self.active_asked += 1
        if isinstance(self._active, Exception):
            raise self._active
        return self._active

    async def ahead(self, name: str) -> bool:
        self.asked.append(name)
        return True

    def run(self, until, *then) -> list[str]:
        """Let it run until something holds, for each of ``then`` do it and go on; who was asked."""

        async def main():
            task = asyncio.create_task(self.warming.run())
            async with asyncio.timeout(5):
                for step in (until, *then):
                    while not step():
                        assert not task.done()
                        await asyncio.sleep(0.001)
                # A few looks more, in which nothing else may come.
                await asyncio.sleep(0.02)
            task.cancel()

        asyncio.run(main())
        return self.asked


def test_those_held_come_first_and_nobody_twice():
    shop = Shop(held=["b", "a"], active=["c", "a", "d"])
    assert shop.run(lambda: len(shop.asked) >= 4) == ["b", "a", "c", "d"]
    assert shop.active_asked == 1


def test_the_lake_is_not_asked_if_enough_are_held_and_no_more_than_told_are_read():
    shop = Shop(held=["a", "b", "c"], active=["d"], most=2)
    assert shop.run(lambda: len(shop.asked) >= 2) == ["a", "b"]
    assert shop.active_asked == 0


def test_another_index_is_worked_through_from_the_start():
    shop = Shop(active=["a", "b"])

    def swap() -> bool:
        shop.index = object()
        return True

    assert shop.run(lambda: len(shop.asked) == 2, swap) == ["a", "b"] * 2


def test_nothing_is_read_before_there_is_an_index():
    shop = Shop(active=["a"])
    shop.index = None
    assert shop.run(lambda: True) == []


def test_a_store_in_trouble_is_left_alone_until_the_next_index():
    shop = Shop(active=["a", "b"])

    async def refused(name: str) -> bool:
        shop.asked.append(name)
        return False

    shop.warming = Prefetch(refused, lambda: shop.index, shop.held, shop.active, 10, seconds=0.001)
    assert shop.run(lambda: len(shop.asked) >= 1) == ["a"]


def test_a_lake_that_fails_is_said_and_asked_again_at_the_next_index(caplog):
    shop = Shop(active=OSError("the disk is gone"))

    def mend() -> bool:
        shop.index, shop._active = object(), ["a"]
        return True

    with caplog.at_level(logging.WARNING):
        shop.run(lambda: "the disk is gone" in caplog.text, mend)

    assert shop.asked == ["a"] and caplog.text.count("the disk is gone") == 1
