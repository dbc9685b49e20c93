"""A pipelined connection to Redis: replies in order, login, lost and stuck connections."""

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError, ResponseError

from feature_repo.online.redis.connection import PipelinedRedis, packed
from tests.support.online_stores import redis_server


def connect(address: str, **login: object) -> PipelinedRedis:
    host, port = address.split(":")
    return PipelinedRedis(host, int(port), login)


@pytest.fixture(scope="module")
def address():
    with redis_server("--requirepass", "secret") as address:
        yield address


def test_replies_come_in_the_order_of_the_commands_after_login(address):
    async def execute() -> list:
        redis = connect(address, password="secret", db=3)
        await redis.execute(packed("SET", "a", "1"))
        found = await asyncio.gather(
            *(redis.execute(packed(*words)) for words in (["GET", "a"], ["GET", "b"], ["DBSIZE"]))
        )
        with pytest.raises(ResponseError, match="wrong number"):
            await redis.execute(packed("GET"))
        await redis.close()
        return found

    assert asyncio.run(execute()) == [b"1", None, 1]


def test_wrong_password_is_an_error_of_redis_and_the_next_command_tries_again(address):
    async def execute() -> None:
        redis = connect(address, password="guess")
        for _ in range(2):
            with pytest.raises(ResponseError, match="WRONGPASS"):
                await redis.execute(packed("GET", "a"))
        await redis.close()

    asyncio.run(execute())


def test_command_after_a_timeout_does_not_get_the_late_reply(address):
    async def execute() -> bytes:
        redis = connect(address, password="secret")
        await redis.execute(packed("SET", "a", "mine"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await redis.execute(packed("BLPOP", "nothing", "0.3"))
        found = await redis.execute(packed("GET", "a"))
        await redis.close()
        return found

    assert asyncio.run(execute()) == b"mine"


class Server:
    """Replies to each command with its number on its connection, or not at all if ``mute``."""

    def __init__(self) -> None:
        self.connections, self.mute, self.writers = 0, False, []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        commands = 0
        with suppress(ConnectionError, OSError):
            while await reader.read(1_000):
                commands += 1
                if not self.mute:
                    writer.write(b":%d\r\n" % commands)
        writer.close()


def with_server(use) -> None:
    async def run() -> None:
        server = Server()
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            redis = PipelinedRedis("127.0.0.1", port, {}, stuck_seconds=0.1)
            await use(server, redis)
            await redis.close()
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_lost_connection_fails_the_waiting_commands_and_the_next_one_reconnects():
    async def use(server: Server, redis: PipelinedRedis) -> None:
        assert await redis.execute(packed("A")) == 1
        server.mute = True
        waiting = [asyncio.ensure_future(redis.execute(packed("B"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        server.writers[0].close()
        for one in waiting:
            with pytest.raises(ConnectionError, match="lost"):
                await one
        server.mute = False
        assert await redis.execute(packed("C")) == 1 and server.connections == 2

    with_server(use)


def test_connection_with_an_overdue_reply_is_replaced():
    async def use(server: Server, redis: PipelinedRedis) -> None:
        server.mute = True
        first = asyncio.ensure_future(redis.execute(packed("A")))
        await asyncio.sleep(0.2)
        server.mute = False
        assert await redis.execute(packed("B")) == 1 and server.connections == 2
        with pytest.raises(ConnectionError, match="given up"):
            await first

    with_server(use)


def test_concurrent_commands_share_one_connection(address):
    async def execute() -> list[int]:
        redis = connect(address, password="secret")
        found = await asyncio.gather(*(redis.execute(packed("CLIENT", "ID")) for _ in range(20)))
        await redis.close()
        return found

    assert len(set(asyncio.run(execute()))) == 1


def test_unreachable_address_is_an_error_at_once():
    async def execute() -> None:
        with pytest.raises(OSError):
            await PipelinedRedis("127.0.0.1", 1, {}).execute(packed("A"))

    asyncio.run(execute())
