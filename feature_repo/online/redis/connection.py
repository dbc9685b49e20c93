"""A pipelined connection to one Redis: commands are sent without waiting for earlier replies.

redis-py takes a connection out of a pool for each command, and packs the command anew. A service
sends the same command for one key after the other. Here it is sent as packed bytes, and a reply
is returned as soon as it arrives.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

import hiredis
from redis.exceptions import ConnectionError, ResponseError

_CONNECT_SECONDS = 1.0


class PipelinedRedis:
    """Sends commands to a Redis at an address; ``login`` may have username, password and db.

    It belongs to the event loop that first uses it. A lost connection fails the commands that
    wait for a reply, and the next command opens a new one. A connection whose oldest reply is
    overdue by ``stuck_seconds`` counts as lost.
    """

    def __init__(
        self, host: str, port: int, login: Mapping[str, Any], stuck_seconds: float = 1.0
    ) -> None:
        self._stuck_seconds = stuck_seconds
        self._address = host, port
        self._login = dict(login)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def execute(self, command: bytes) -> Any:
        """Returns the reply to a packed command. Raises RedisError or OSError."""
        connection = self._connection
        if connection is None or not connection.is_usable(self._stuck_seconds):
            connection = await self._connected()
        return await connection.execute(command)

    async def close(self) -> None:
        """Closes the connection; a later command opens a new one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
            # The event loop closes the socket in its next iteration.
            await asyncio.sleep(0)

    async def _connected(self) -> "_Connection":
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
        # A caller that times out must not cancel the connection of the others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, connection = await loop.create_connection(_Connection, *self._address)
            try:
                for command in self._login_commands():
                    await connection.execute(command)
            except BaseException:
                connection.abort()
                raise
        self._connection = connection
        return connection

    def _login_commands(self) -> list[bytes]:
        words = [self._login.get(name) for name in ("username", "password")]
        found = []
        if words[1] is not None:
            found.append(packed("AUTH", *(str(w) for w in words if w is not None)))
        if self._login.get("db"):
            found.append(packed("SELECT", str(self._login["db"])))
        return found


def packed(*words: str | bytes) -> bytes:
    r"""Packs a command as Redis reads it.

    >>> packed("GET", "a")
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    # hiredis declares a tuple of one word, but takes any number.
    return hiredis.pack_command(cast(Any, words))


class _Connection(asyncio.Protocol):
    """A connection, and the futures of its outstanding replies, in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._transport: asyncio.Transport | None = None

    def is_usable(self, stuck_seconds: float) -> bool:
        """True unless the connection is closed or its oldest reply is overdue."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._waiting and self._loop.time() - self._waiting[0][1] > stuck_seconds:
            self.abort()
            return False
        return True

    def execute(self, command: bytes) -> asyncio.Future[Any]:
        """Sends a command; returns the future of its reply."""
        reply = self._loop.create_future()
        self._waiting.append((reply, self._loop.time()))
        self._open_transport().write(command)
        return reply

    def abort(self) -> None:
        """Closes the connection at once and fails the outstanding replies."""
        self._open_transport().abort()
        self._fail("The connection to Redis was given up.")

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionError("The connection to Redis is not open yet.")
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport; asyncio calls it once the connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Resolves the futures of the replies in the data, oldest first."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            waiting, _ = self._waiting.popleft()
            # A command whose caller gave up keeps its position in the order.
            if waiting.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                waiting.set_exception(ResponseError(str(reply)))
            else:
                waiting.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Fails the outstanding replies; asyncio calls it once the connection is closed."""
        self._fail(f"The connection to Redis was lost ({error or 'it was closed'}).")

    def _fail(self, reason: str) -> None:
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(ConnectionError(reason))
