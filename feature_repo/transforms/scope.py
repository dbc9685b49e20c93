"""Which candidates cover what a user bought: one sparse product, computed entry by entry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scope:
    """The coupons that cover each id, as compressed columns.

    The coupons of id ``i`` are ``coupons[start[i]:start[i + 1]]``, rows of the coupon arrays.
    """

    index: dict[str, int]
    start: np.ndarray
    coupons: np.ndarray
    coupon_count: int

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[str] | None]) -> "Scope":
        """Invert one list of ids a coupon; null is an empty scope, a repeated id counts once."""
        unique = [() if ids is None else dict.fromkeys(ids) for ids in lists]
        index = {
            key: position
            for position, key in enumerate(dict.fromkeys(k for u in unique for k in u))
        }
        ids = np.array([index[key] for keys in unique for key in keys], dtype=np.int64)
        coupons = np.repeat(np.arange(len(unique)), [len(keys) for keys in unique])
        order = np.argsort(ids, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=len(index)))])
        return cls(index, start.astype(np.int64), coupons[order], len(unique))


@dataclass(frozen=True)
class Hits:
    """Pairs of an entry and a candidate that covers it.

    ``cell`` is owner x candidate, flattened; ``column`` numbers the entry's id within the scope.
    """

    entry: np.ndarray
    cell: np.ndarray
    column: np.ndarray

    def total(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The sum of the entries' values for each owner and candidate; 0 without a hit."""
        sums = np.bincount(self.cell, values[self.entry], minlength=shape[0] * shape[1])
        return sums.reshape(shape)

    def distinct(self, counts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """How many ids of each owner and candidate have a positive count over all their entries."""
        width = int(self.column.max(initial=0)) + 1
        pairs, member = np.unique(self.cell * width + self.column, return_inverse=True)
        held = np.bincount(member, counts[self.entry], minlength=len(pairs)) > 0
        cells = pairs[held] // width
        return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)

    def latest(self, values: np.ndarray, newer: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The greatest of the entries' values; NaN without a hit.

        Of an id with an entry that is ``newer`` only that one counts.
        """
        out = np.full(shape[0] * shape[1], -np.inf)
        counts = ~self._outdated(newer)
        np.maximum.at(out, self.cell[counts], values[self.entry[counts]])
        out[np.isneginf(out)] = np.nan
        return out.reshape(shape)

    def _outdated(self, newer: np.ndarray) -> np.ndarray:
        """Which hits are of an id whose newer entry hits the same cell."""
        fresh = newer[self.entry]
        if not fresh.any():
            return fresh
        pairs = self.cell * (int(self.column.max()) + 1) + self.column
        return ~fresh & np.isin(pairs, pairs[fresh])


def covered(scope: Scope, candidates: np.ndarray, owner: np.ndarray, ids: np.ndarray) -> Hits:
    """Every (entry, candidate) pair in which the candidate's scope has the entry's id.

    ``owner`` and ``ids`` have one value an entry; an id that no coupon covers has no hit.
    """
    position = np.full(scope.coupon_count, -1, dtype=np.int64)
    position[candidates] = np.arange(len(candidates))
    column = np.fromiter((scope.index.get(key, -1) for key in ids), np.int64, len(ids))
    known = np.flatnonzero(column >= 0)
    first, last = scope.start[column[known]], scope.start[column[known] + 1]
    length = last - first
    entry = np.repeat(known, length)
    offset = np.arange(len(entry)) - np.repeat(np.cumsum(length) - length, length)
    candidate = position[scope.coupons[np.repeat(first, length) + offset]]
    wanted = candidate >= 0
    entry, candidate = entry[wanted], candidate[wanted]
    return Hits(entry, owner[entry] * len(candidates) + candidate, column[entry])
