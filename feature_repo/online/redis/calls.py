"""Many calls of one Redis script: packed by hand, and many of them under way at once.

redis-py makes an object of every command and every answer; here a megabyte of commands is one.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from redis.cluster import RedisCluster
from redis.exceptions import MovedError, NoScriptError

from feature_repo.online.format.wire_format import Block

_PIECE = 1 << 20
"""So many bytes go out at once, and so many pieces are out before an answer is read."""
_UNDER_WAY = 3
_MOST_ROWS = 500
_KEYS_A_CALL = 10
"""More than one, since a call has a cost of its own; few, since nobody else is served meanwhile."""


def call(client, script: str, keys: Sequence[bytes], *arguments: Sequence[bytes]) -> int:
    """Run a script over keys, each with its arguments; gives the sum of what it returned.

    A call has some keys, and then as many rows of arguments; in a cluster it has one key, because
    others may be on other nodes.
    """
    if not isinstance(client, RedisCluster):
        return _call_node(client, script, _KEYS_A_CALL, keys, *arguments)
    try:
        return _call_cluster(client, script, keys, *arguments)
    except MovedError:
        # A call twice over does no harm: it compares with what the first one set.
        client.nodes_manager.initialize()
        return _call_cluster(client, script, keys, *arguments)


def _call_cluster(client: RedisCluster, script: str, *columns: Sequence[bytes]) -> int:
    places: dict = {}
    for row, key in enumerate(columns[0]):
        places.setdefault(client.get_node_from_key(key), []).append(row)
    columns = [list(column) for column in columns]
    return sum(
        _call_node(
            client.get_redis_connection(node),
            script,
            1,
            *([column[row] for row in rows] for column in columns),
        )
        for node, rows in places.items()
    )


def _call_node(client, script: str, keys_a_call: int, *columns: Sequence[bytes]) -> int:
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        return _pipelined(connection, _pieces(script, keys_a_call, columns))
    except BaseException:
        # Answers that nobody read must not reach the next user of the connection.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _pipelined(connection, pieces: Iterator[tuple[bytes, int]]) -> int:
    """Send piece after piece, and read the answers of one while the next ones are under way."""
    total, under_way, again = 0, deque(), []
    for piece in pieces:
        connection.send_packed_command([piece[0]])
        under_way.append(piece)
        if len(under_way) > _UNDER_WAY:
            total += _answers(connection, under_way.popleft(), again)
    while under_way:
        total += _answers(connection, under_way.popleft(), again)
    for piece in again:
        # Somebody emptied the script cache in the middle of a piece.
        connection.send_packed_command([piece[0]])
        total += _answers(connection, piece, None)
    return total


def _answers(connection, piece: tuple[bytes, int], again: list | None) -> int:
    connection.read_response()
    total, lost = 0, None
    for _ in range(piece[1]):
        try:
            total += connection.read_response()
        except NoScriptError as error:
            lost = error
    if lost is not None:
        if again is None:
            raise lost
        again.append(piece)
    return total


def _pieces(
    script: str, keys_a_call: int, columns: Sequence[Sequence[bytes]]
) -> Iterator[tuple[bytes, int]]:
    """Packed commands: the script itself and some calls of it; and how many calls."""
    load = _command(3, b"SCRIPT", b"LOAD", script.encode())
    digest = hashlib.sha1(script.encode()).hexdigest().encode()
    rows = _rows_a_piece(columns, keys_a_call)
    for start in range(0, len(columns[0]), rows):
        keys, *arguments = (column[start : start + rows] for column in columns)
        parts = [load]
        key_parts, argument_parts = _framed([keys]), _framed(arguments)
        for first in range(0, len(keys), keys_a_call):
            few = slice(first, first + keys_a_call)
            count = len(keys[few])
            parts += [
                b"\r\n",
                _command(3 + count * len(columns), b"EVALSHA", digest, b"%d" % count),
            ]
            parts += chain.from_iterable(key_parts[few])
            parts += chain.from_iterable(argument_parts[few])
        parts.append(b"\r\n")
        yield b"".join(parts), -(-len(keys) // keys_a_call)


def _rows_a_piece(columns: Sequence[Sequence[bytes]], keys_a_call: int) -> int:
    """As many rows of whole calls as fill a piece, by what some of the rows weigh."""
    sample = range(0, len(columns[0]), 64)
    weight = sum(len(column[row]) for column in columns for row in sample)
    rows = min(_MOST_ROWS, _PIECE * len(sample) // max(weight, 1))
    return max(1, rows // keys_a_call) * keys_a_call


def _command(count: int, *parts: bytes) -> bytes:
    """The beginning of a command of ``count`` parts, up to where the line of the last one ends."""
    return b"*%d" % count + b"".join(_head(len(part)) + part for part in parts)


def _head(length: int) -> bytes:
    """What stands before a value: the end of the line before, and its length."""
    return b"\r\n$%d\r\n" % length


def _framed(columns: Sequence[Sequence[bytes]]) -> list[tuple[bytes, ...]]:
    """Every row as Redis reads it, in as few pieces as can be: columns of one width are one."""
    pieces: list = []
    for even, group in groupby(columns, lambda column: isinstance(column, Block)):
        if even:
            blocks = ((Block.of(_head(one.width), len(one)), one) for one in group)
            pieces.append(Block.side_by_side(list(chain.from_iterable(blocks))))
        else:
            pieces += chain.from_iterable((_heads(one), one) for one in group)
    return list(zip(*pieces, strict=True))


def _heads(values: Sequence[bytes]) -> Iterator[bytes]:
    """What stands before every value; in C, since there are many values."""
    return map(_Heads().__getitem__, map(len, values))


class _Heads(dict):
    """What stands before a value, for every length that occurs."""

    def __missing__(self, length: int) -> bytes:
        self[length] = _head(length)
        return self[length]
