"""Protobuf's wire format for whole columns: the bytes of many values laid out with NumPy."""

import math
from collections.abc import Iterator, Sequence

import numpy as np


def field_head(field: int, wire: int) -> bytes:
    """What stands before a field's value; ``wire`` 0 is a varint, 1 and 5 fixed, 2 a length."""
    return varint(field << 3 | wire)


def varint(value: int) -> bytes:
    """One whole number: seven bits a byte, the low ones first."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def sized(head: bytes, values: Sequence[bytes]) -> list[bytes]:
    """Every value after the head and its length."""
    heads = _Sized(head)
    return [heads[len(value)] + value for value in values]


class _Sized(dict):
    """The head with a length, for every length that occurs."""

    def __init__(self, head: bytes):
        super().__init__()
        self.head = head

    def __missing__(self, length: int) -> bytes:
        self[length] = self.head + varint(length)
        return self[length]


class Block(Sequence):
    """``n`` byte strings of one length as an ``n`` by length array of uint8."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    @classmethod
    def of(cls, value: bytes, count: int) -> "Block":
        """The same bytes so many times."""
        return cls(np.broadcast_to(np.frombuffer(value, np.uint8), (count, len(value))))

    @classmethod
    def side_by_side(cls, blocks: Sequence["Block"]) -> "Block":
        """The strings of several blocks put together, row by row."""
        return cls(np.hstack([block.rows for block in blocks]))

    @property
    def width(self) -> int:
        """How many bytes each string has."""
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):
        found = self.rows[place]
        return Block(found) if isinstance(place, slice) else found.tobytes()

    def __iter__(self) -> Iterator[bytes]:
        starts = np.arange(len(self)) * self.width
        return iter(cut(self.rows.tobytes(), starts, starts + self.width))


def fixed(head: bytes, numbers: np.ndarray) -> Block:
    """Every number, or row of numbers, after the head, in as many bytes as its type has."""
    width = numbers.dtype.itemsize * math.prod(numbers.shape[1:])
    rows = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), width)
    return Block.side_by_side([Block.of(head, len(rows)), Block(rows)])


def tagged(head: bytes, numbers: np.ndarray) -> list[bytes]:
    """Every int64 number as a varint after the head."""
    rows, lengths = varints(numbers)
    heads = np.broadcast_to(np.frombuffer(head, np.uint8), (len(rows), len(head)))
    lengths = lengths + len(head)
    ends = np.cumsum(lengths)
    return cut(joined(np.hstack([heads, rows]), lengths), ends - lengths, ends)


def varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Int64 numbers as rows of ten bytes, and how many bytes of each row count."""
    unsigned = np.ascontiguousarray(numbers, np.int64).view(np.uint64)
    shifts = np.arange(0, 70, 7, dtype=np.uint64)
    rows = ((unsigned[:, None] >> shifts) & np.uint64(127)).astype(np.uint8)
    bounds = np.uint64(1) << shifts[1:]
    lengths = 1 + (unsigned[:, None] >= bounds).sum(axis=1)
    rows[np.arange(10) < lengths[:, None] - 1] |= 128
    return rows, lengths


def joined(rows: np.ndarray, lengths: np.ndarray) -> bytes:
    """The bytes that count of all rows, one after the other."""
    return rows[np.arange(rows.shape[1]) < lengths[:, None]].tobytes()


def cut(buffer: bytes, starts: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """The pieces ``[start, end)`` of a buffer."""
    return [buffer[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
