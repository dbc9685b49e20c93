"""Which candidates cover what a user bought: one sparse product, computed entry by entry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

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
    """Pairs of an entry and a candidate that covers it, by rising entry.

    ``cell`` is owner x candidate, flattened; ``column`` numbers the entry's id within the scope.
    """

    entry: np.ndarray
    cell: np.ndarray
    column: np.ndarray

    def before(self, entry: int) -> "Hits":
        """The hits of the entries before one."""
        some = slice(int(np.searchsorted(self.entry, entry)))
        return Hits(self.entry[some], self.cell[some], self.column[some])

    def total(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The sum of the entries' values for each owner and candidate; 0 without a hit."""
        sums = np.bincount(self.cell, values[self.entry], minlength=math.prod(shape))
        return sums.reshape(shape)

    def distinct(self, counts: np.ndarray, newer: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """How many ids of each owner and candidate have a positive count over all their entries.

        An id has an entry more than once only if one of them is ``newer``.
        """
        if not newer[self.entry].any():
            held = self.cell[counts[self.entry] > 0]
            return np.bincount(held, minlength=math.prod(shape)).reshape(shape)
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


@dataclass(frozen=True)
class ScopeStack:
    """Scopes of several kinds over the same coupons, laid out as one so that one pass covers all.

    ``scopes`` are the kinds' own, in the order of their layers; ``start`` and ``coupons`` hold
    their columns one kind after the other, and ``places`` maps each kind's ids to them.
    """

    scopes: tuple[Scope, ...]
    places: tuple[dict[str, int], ...]
    start: np.ndarray
    coupons: np.ndarray

    @classmethod
    def of(cls, scopes: Sequence[Scope]) -> "ScopeStack":
        """Stack scopes over the same coupons."""
        first = np.cumsum([0, *(len(scope.index) for scope in scopes)])[:-1].tolist()
        before = np.cumsum([0, *(len(scope.coupons) for scope in scopes)])
        shifted = [scope.start[:-1] + at for scope, at in zip(scopes, before[:-1], strict=True)]
        return cls(
            tuple(scopes),
            tuple(
                {key: place + at for key, place in scope.index.items()}
                for scope, at in zip(scopes, first, strict=True)
            ),
            np.concatenate([*shifted, before[-1:]]).astype(np.int64),
            np.concatenate([scope.coupons for scope in scopes]),
        )

    @property
    def coupon_count(self) -> int:
        return self.scopes[0].coupon_count

    def columns(self, ids: Sequence[Sequence[str]]) -> np.ndarray:
        """The column of every id, layer after layer; -1 for one that no coupon covers."""
        found = (map(at.get, of, repeat(-1)) for at, of in zip(self.places, ids, strict=True))
        return np.array(list(chain.from_iterable(found)), dtype=np.int64)


def covered(scope: Scope, candidates: np.ndarray, owner: np.ndarray, ids: Sequence[str]) -> Hits:
    """Every (entry, candidate) pair in which the candidate's scope has the entry's id.

    ``owner`` and ``ids`` have one value an entry; an id that no coupon covers has no hit.
    """
    column = np.array(list(map(scope.index.get, ids, repeat(-1))), dtype=np.int64)
    return hits(scope, candidates, owner, column)


def hits(
    scope: Scope | ScopeStack, candidates: np.ndarray, owner: np.ndarray, column: np.ndarray
) -> Hits:
    """The same for columns of the scope; one below 0 has no hit."""
    position = np.full(scope.coupon_count, -1, dtype=np.int64)
    position[candidates] = np.arange(len(candidates))
    known = np.flatnonzero(column >= 0)
    first = scope.start[column[known]]
    length = scope.start[column[known] + 1] - first
    ends = np.cumsum(length)
    # Each entry's coupons lie side by side: the place of a pair, less where its run began.
    shift = np.repeat(first - ends + length, length)
    candidate = position[scope.coupons[np.arange(len(shift)) + shift]]
    wanted = np.flatnonzero(candidate >= 0)
    entry, candidate = np.repeat(known, length)[wanted], candidate[wanted]
    return Hits(entry, owner[entry] * len(candidates) + candidate, column[entry])
