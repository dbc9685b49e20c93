"""One connection to one Redis, on which questions go out without waiting for answers.

redis-py takes a connection out of a pool for each question, and packs it anew. A service asks the
same question of one key after the other: here it goes out as the bytes it is, and an answer is
handed over as soon as it has arrived.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, ResponseError

_CONNECT_SECONDS = 1.0


class RedisLine:
    """Asks a Redis at an address; ``login`` may have username, password and db.

    It belongs to the event loop that first asks. A connection that is lost fails what waits for
    answers, and the next question makes a new one; so does one on which an answer did not come in
    ``stuck_seconds``.
    """

    def __init__(
        self, host: str, port: int, login: Mapping[str, Any], stuck_seconds: float = 1.0
    ) -> None:
        self._stuck_seconds = stuck_seconds
        self._address = host, port
        self._login = dict(login)
        self._line: _Line | None = None
        self._connecting: asyncio.Task | None = None

    async def ask(self, command: bytes) -> Any:
        """The answer to a packed command. Raises RedisError or OSError."""
        line = self._line
        if line is None or not line.is_open(self._stuck_seconds):
            line = await self._connected()
        return await line.ask(command)

    async def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.hang_up()
            self._line = None
            # The event loop closes the socket in its next turn.
            await asyncio.sleep(0)

    async def _connected(self) -> "_Line":
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
        # Whoever gives up waiting does not stop the others from getting a connection.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Line":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, line = await loop.create_connection(_Line, *self._address)
            try:
                for command in self._greetings():
                    await line.ask(command)
            except BaseException:
                line.hang_up()
                raise
        self._line = line
        return line

    def _greetings(self) -> list[bytes]:
        words = [self._login.get(name) for name in ("username", "password")]
        found = []
        if words[1] is not None:
            found.append(hiredis.pack_command(("AUTH", *(str(w) for w in words if w is not None))))
        if self._login.get("db"):
            found.append(hiredis.pack_command(("SELECT", str(self._login["db"]))))
        return found


class _Line(asyncio.Protocol):
    """A connection, and who waits for its answers, in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future, float]] = deque()
        self._transport: asyncio.Transport | None = None

    def is_open(self, stuck_seconds: float) -> bool:
        """Whether a question would be answered, as far as can be known."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._waiting and self._loop.time() - self._waiting[0][1] > stuck_seconds:
            self.hang_up()
            return False
        return True

    def ask(self, command: bytes) -> asyncio.Future:
        answer = self._loop.create_future()
        self._waiting.append((answer, self._loop.time()))
        self._transport.write(command)
        return answer

    def hang_up(self) -> None:
        self._transport.abort()
        self._fail("The connection to Redis was given up.")

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            waiting, _ = self._waiting.popleft()
            # Who gave up still has their place in the order.
            if waiting.done():
                continue
            if isinstance(answer, hiredis.ReplyError):
                waiting.set_exception(ResponseError(str(answer)))
            else:
                waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"The connection to Redis was lost ({error or 'it was closed'}).")

    def _fail(self, why: str) -> None:
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(ConnectionError(why))
