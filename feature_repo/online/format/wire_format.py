"""Protobuf's wire format for whole columns, laid out with NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np


def field_head(field: int, wire: int) -> bytes:
    r"""Returns the tag before a field's value; ``wire`` 0 is a varint, 1 and 5 fixed, 2 a length.

    >>> field_head(2, 2)
    b'\x12'
    """
    return varint(field << 3 | wire)


def varint(value: int) -> bytes:
    r"""Encodes one whole number from 0: seven bits a byte, the low ones first.

    >>> varint(300)
    b'\xac\x02'
    """
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def sized(head: bytes, values: Sequence[bytes]) -> list[bytes]:
    r"""Puts the head and the length before each value.

    >>> sized(b"\n", [b"ab", b""])
    [b'\n\x02ab', b'\n\x00']
    """
    heads = _Sized(head)
    return [heads[len(value)] + value for value in values]


class _Sized(dict[int, bytes]):
    """Cache of the head with each length."""

    def __init__(self, head: bytes):
        super().__init__()
        self.head = head

    def __missing__(self, length: int) -> bytes:
        self[length] = self.head + varint(length)
        return self[length]


class Block(Sequence[bytes]):
    """``n`` byte strings of one length: a uint8 array of shape ``(n, length)``."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    @classmethod
    def of(cls, value: bytes, count: int) -> Block:
        """Repeats the same bytes ``count`` times."""
        return cls(np.broadcast_to(np.frombuffer(value, np.uint8), (count, len(value))))

    @classmethod
    def side_by_side(cls, blocks: Sequence[Block]) -> Block:
        """Concatenates the strings of several blocks row by row."""
        return cls(np.hstack([block.rows for block in blocks]))

    @property
    def width(self) -> int:
        """Number of bytes in each string."""
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> Block: ...

    def __getitem__(self, place: int | slice) -> bytes | Block:
        found = self.rows[place]
        return Block(found) if isinstance(place, slice) else found.tobytes()

    def __iter__(self) -> Iterator[bytes]:
        starts = np.arange(len(self)) * self.width
        return iter(cut(self.rows.tobytes(), starts, starts + self.width))


def fixed(head: bytes, numbers: np.ndarray) -> Block:
    """Puts the head before each number, or row of numbers, in its little-endian bytes."""
    width = numbers.dtype.itemsize * math.prod(numbers.shape[1:])
    rows = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), width)
    return Block.side_by_side([Block.of(head, len(rows)), Block(rows)])


def tagged(head: bytes, numbers: np.ndarray) -> list[bytes]:
    r"""Puts the head before each int64 number as a varint.

    >>> tagged(b"\x08", np.array([1, 300]))
    [b'\x08\x01', b'\x08\xac\x02']
    """
    rows, lengths = varints(numbers)
    heads = np.broadcast_to(np.frombuffer(head, np.uint8), (len(rows), len(head)))
    lengths = lengths + len(head)
    ends = np.cumsum(lengths)
    return cut(joined(np.hstack([heads, rows]), lengths), ends - lengths, ends)


def varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes int64 numbers as varints: rows of ten bytes, and the length used of each row."""
    unsigned = np.ascontiguousarray(numbers, np.int64).view(np.uint64)
    shifts = np.arange(0, 70, 7, dtype=np.uint64)
    rows = ((unsigned[:, None] >> shifts) & np.uint64(127)).astype(np.uint8)
    bounds = np.uint64(1) << shifts[1:]
    lengths = 1 + (unsigned[:, None] >= bounds).sum(axis=1)
    rows[np.arange(10) < lengths[:, None] - 1] |= 128
    return rows, lengths


def joined(rows: np.ndarray, lengths: np.ndarray) -> bytes:
    """Concatenates the used bytes of all rows."""
    return rows[np.arange(rows.shape[1]) < lengths[:, None]].tobytes()


def cut(buffer: bytes, starts: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """Cuts a buffer into the pieces ``[start, end)``.

    >>> cut(b"abcd", np.array([0, 1]), np.array([1, 4]))
    [b'a', b'bcd']
    """
    return [buffer[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
