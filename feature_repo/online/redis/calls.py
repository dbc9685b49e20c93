"""Calls of a Redis script over many keys: packed by hand and pipelined.

redis-py creates an object for every command and every reply. Here a megabyte of commands is one
byte string.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import MovedError, NoScriptError

from feature_repo.online.format.wire_format import Block

_PIECE_BYTES = 1 << 20
_MOST_IN_FLIGHT = 3
"""Pieces sent before the replies of the first one are read."""
_MOST_ROWS = 500
_KEYS_PER_CALL = 10
"""More than one, since a call has a fixed cost; few, since Redis serves no other client in it."""

Piece = tuple[bytes, int]
"""Packed commands, and the number of script calls among them."""


def call_script(
    client: Any, script: str, keys: Sequence[bytes], *arguments: Sequence[bytes]
) -> int:
    """Runs a script over keys, each with its arguments; returns the sum of its results.

    A call has several keys, followed by as many rows of arguments. In a cluster it has one key,
    because other keys may be on other nodes.
    """
    if not isinstance(client, RedisCluster):
        return _call_node(client, script, _KEYS_PER_CALL, keys, *arguments)
    try:
        return _call_cluster(client, script, keys, *arguments)
    except MovedError:
        # The scripts are idempotent: a second call compares with the result of the first.
        client.nodes_manager.initialize()
        return _call_cluster(client, script, keys, *arguments)


def _call_cluster(client: RedisCluster, script: str, *columns: Sequence[bytes]) -> int:
    places: dict[Any, list[int]] = {}
    for row, key in enumerate(columns[0]):
        node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
        places.setdefault(node, []).append(row)
    lists = [list(column) for column in columns]
    return sum(
        _call_node(
            client.get_redis_connection(node),
            script,
            1,
            *([column[row] for row in rows] for column in lists),
        )
        for node, rows in places.items()
    )


def _call_node(client: Any, script: str, keys_per_call: int, *columns: Sequence[bytes]) -> int:
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        return send_pipelined(connection, _pieces(script, keys_per_call, columns))
    except BaseException:
        # Unread replies must not reach the next user of the connection.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def send_pipelined(connection: Any, pieces: Iterator[Piece]) -> int:
    """Sends the pieces, with several in flight; returns the sum of their replies.

    Sends a piece a second time if the script cache was emptied in the middle of it.
    """
    total = 0
    in_flight: deque[Piece] = deque()
    failed: list[Piece] = []
    for piece in pieces:
        connection.send_packed_command([piece[0]])
        in_flight.append(piece)
        if len(in_flight) > _MOST_IN_FLIGHT:
            total += _read_replies(connection, in_flight.popleft(), failed)
    while in_flight:
        total += _read_replies(connection, in_flight.popleft(), failed)
    for piece in failed:
        connection.send_packed_command([piece[0]])
        total += _read_replies(connection, piece, None)
    return total


def _read_replies(connection: Any, piece: Piece, failed: list[Piece] | None) -> int:
    """Sums the replies of a piece; adds it to ``failed`` if Redis had lost the script."""
    connection.read_response()
    total, lost = 0, None
    for _ in range(piece[1]):
        try:
            total += connection.read_response()
        except NoScriptError as error:
            lost = error
    if lost is not None:
        if failed is None:
            raise lost
        failed.append(piece)
    return total


def _pieces(script: str, keys_per_call: int, columns: Sequence[Sequence[bytes]]) -> Iterator[Piece]:
    """Yields packed commands: each piece loads the script and calls it several times."""
    load = _command(3, b"SCRIPT", b"LOAD", script.encode())
    digest = hashlib.sha1(script.encode()).hexdigest().encode()
    rows = _rows_per_piece(columns, keys_per_call)
    for start in range(0, len(columns[0]), rows):
        keys, *arguments = (column[start : start + rows] for column in columns)
        parts = [load]
        key_parts, argument_parts = _framed([keys]), _framed(arguments)
        for first in range(0, len(keys), keys_per_call):
            few = slice(first, first + keys_per_call)
            count = len(keys[few])
            parts += [
                b"\r\n",
                _command(3 + count * len(columns), b"EVALSHA", digest, b"%d" % count),
            ]
            parts += chain.from_iterable(key_parts[few])
            parts += chain.from_iterable(argument_parts[few])
        parts.append(b"\r\n")
        yield b"".join(parts), -(-len(keys) // keys_per_call)


def _rows_per_piece(columns: Sequence[Sequence[bytes]], keys_per_call: int) -> int:
    """Returns the rows that fill a piece with whole calls, from the size of a sample of rows."""
    sample = range(0, len(columns[0]), 64)
    size = sum(len(column[row]) for column in columns for row in sample)
    rows = min(_MOST_ROWS, _PIECE_BYTES * len(sample) // max(size, 1))
    return max(1, rows // keys_per_call) * keys_per_call


def _command(count: int, *parts: bytes) -> bytes:
    """Returns the first parts of a command of ``count`` parts, without the last line end."""
    return b"*%d" % count + b"".join(_head(len(part)) + part for part in parts)


def _head(length: int) -> bytes:
    """Returns the bytes before a value: the end of the line before, and the value's length."""
    return b"\r\n$%d\r\n" % length


def _framed(columns: Sequence[Sequence[bytes]]) -> list[tuple[bytes, ...]]:
    """Returns every row as Redis reads it; neighboring columns of fixed width are one string."""
    pieces: list[Any] = []
    for is_block, group in groupby(columns, lambda column: isinstance(column, Block)):
        if is_block:
            blocks = [one for one in group if isinstance(one, Block)]
            framed = [(Block.of(_head(one.width), len(one)), one) for one in blocks]
            pieces.append(Block.side_by_side(list(chain.from_iterable(framed))))
        else:
            pieces += chain.from_iterable((_heads(one), one) for one in group)
    return list(zip(*pieces, strict=True))


def _heads(values: Sequence[bytes]) -> Iterator[bytes]:
    """Yields the head of every value; the loop runs in C, since there are many values."""
    return map(_Heads().__getitem__, map(len, values))


class _Heads(dict[int, bytes]):
    """Cache of the head for each length."""

    def __missing__(self, length: int) -> bytes:
        self[length] = _head(length)
        return self[length]
