"""A line to Redis: answers in their order, a lost or stuck connection, a Redis with a password."""

import asyncio
from contextlib import suppress

import hiredis
import pytest
from redis.exceptions import ConnectionError, ResponseError

from feature_repo.online.format.redis_hash import RedisLine
from tests.support.online_stores import redis_server


def packed(*words: str) -> bytes:
    return hiredis.pack_command(words)


def line_to(address: str, **login: object) -> RedisLine:
    host, port = address.split(":")
    return RedisLine(host, int(port), login)


@pytest.fixture(scope="module")
def address():
    with redis_server("--requirepass", "secret") as address:
        yield address


def test_answers_come_in_the_order_of_the_questions_after_logging_in(address):
    async def ask() -> list:
        line = line_to(address, password="secret", db=3)
        await line.ask(packed("SET", "a", "1"))
        found = await asyncio.gather(
            *(line.ask(packed(*words)) for words in (["GET", "a"], ["GET", "b"], ["DBSIZE"]))
        )
        with pytest.raises(ResponseError, match="wrong number"):
            await line.ask(packed("GET"))
        await line.close()
        return found

    assert asyncio.run(ask()) == [b"1", None, 1]


def test_wrong_password_is_an_error_of_redis_and_the_next_question_tries_again(address):
    async def ask() -> None:
        line = line_to(address, password="guess")
        for _ in range(2):
            with pytest.raises(ResponseError, match="WRONGPASS"):
                await line.ask(packed("GET", "a"))
        await line.close()

    asyncio.run(ask())


def test_who_gave_up_waiting_does_not_get_the_answer_of_another(address):
    async def ask() -> bytes:
        line = line_to(address, password="secret")
        await line.ask(packed("SET", "a", "mine"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await line.ask(packed("BLPOP", "nothing", "0.3"))
        found = await line.ask(packed("GET", "a"))
        await line.close()
        return found

    assert asyncio.run(ask()) == b"mine"


class Server:
    """Answers every question with its number among those of its connection, or not at all."""

    def __init__(self) -> None:
        self.connections, self.mute, self.writers = 0, False, []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        asked = 0
        with suppress(ConnectionError, OSError):
            while await reader.read(1_000):
                asked += 1
                if not self.mute:
                    writer.write(b":%d\r\n" % asked)
        writer.close()


def with_server(use) -> None:
    async def run() -> None:
        server = Server()
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            line = RedisLine("127.0.0.1", port, {}, stuck_seconds=0.1)
            await use(server, line)
            await line.close()
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_lost_connection_fails_who_waits_and_the_next_question_makes_another():
    async def use(server: Server, line: RedisLine) -> None:
        assert await line.ask(packed("A")) == 1
        server.mute = True
        waiting = [asyncio.ensure_future(line.ask(packed("B"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        server.writers[0].close()
        for one in waiting:
            with pytest.raises(ConnectionError, match="lost"):
                await one
        server.mute = False
        assert await line.ask(packed("C")) == 1 and server.connections == 2

    with_server(use)


def test_connection_on_which_an_answer_is_long_overdue_is_given_up():
    async def use(server: Server, line: RedisLine) -> None:
        server.mute = True
        first = asyncio.ensure_future(line.ask(packed("A")))
        await asyncio.sleep(0.2)
        server.mute = False
        assert await line.ask(packed("B")) == 1 and server.connections == 2
        with pytest.raises(ConnectionError, match="given up"):
            await first

    with_server(use)


def test_many_at_once_share_one_connection(address):
    async def ask() -> list[int]:
        line = line_to(address, password="secret")
        found = await asyncio.gather(*(line.ask(packed("CLIENT", "ID")) for _ in range(20)))
        await line.close()
        return found

    assert len(set(asyncio.run(ask()))) == 1


def test_nobody_there_is_an_error_at_once():
    async def ask() -> None:
        with pytest.raises(OSError):
            await RedisLine("127.0.0.1", 1, {}).ask(packed("A"))

    asyncio.run(ask())
