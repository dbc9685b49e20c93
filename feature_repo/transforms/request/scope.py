"""Matches of users' entries with the candidates that cover their ids, as a sparse product."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np


@dataclass(frozen=True)
class Scope:
    """The coupons that cover each id, as compressed sparse columns (CSC).

    ``index`` maps an id to its column. The coupons of column ``i`` are
    ``coupons[start[i]:start[i + 1]]``, as rows of the coupon arrays.
    """

    index: dict[str, int]
    start: np.ndarray
    coupons: np.ndarray
    coupon_count: int

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[str] | None]) -> "Scope":
        """Builds a scope from a list of ids for each coupon.

        Null is an empty list. A repeated id counts once.

        >>> scope = Scope.from_lists([["milk", "bread"], None, ["milk"]])
        >>> column = scope.index["milk"]
        >>> scope.coupons[scope.start[column] : scope.start[column + 1]]
        array([0, 2])
        """
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
    """Pairs of an entry and a candidate that covers its id, sorted by entry.

    ``cell`` is owner * candidates + candidate. ``column`` is the column of the entry's id in the
    scope.
    """

    entry: np.ndarray
    cell: np.ndarray
    column: np.ndarray

    def before(self, entry: int) -> "Hits":
        """Returns the hits of the entries before this one."""
        first = slice(int(np.searchsorted(self.entry, entry)))
        return Hits(self.entry[first], self.cell[first], self.column[first])

    def total(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Sums the entries' values for each owner and candidate; 0 without a hit."""
        sums = np.bincount(self.cell, values[self.entry], minlength=math.prod(shape))
        return sums.reshape(shape)

    def distinct(self, counts: np.ndarray, newer: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Counts the ids with a positive sum of counts, for each owner and candidate.

        Only an id with a ``newer`` entry can have two entries.
        """
        if not newer[self.entry].any():
            positive = self.cell[counts[self.entry] > 0]
            return np.bincount(positive, minlength=math.prod(shape)).reshape(shape)
        width = int(self.column.max(initial=0)) + 1
        pairs, member = np.unique(self.cell * width + self.column, return_inverse=True)
        is_positive = np.bincount(member, counts[self.entry], minlength=len(pairs)) > 0
        cells = pairs[is_positive] // width
        return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)

    def latest(self, values: np.ndarray, newer: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Returns the greatest of the entries' values; NaN without a hit.

        For an id with a ``newer`` entry only that entry counts.
        """
        out = np.full(shape[0] * shape[1], -np.inf)
        counts = ~self._outdated(newer)
        np.maximum.at(out, self.cell[counts], values[self.entry[counts]])
        out[np.isneginf(out)] = np.nan
        return out.reshape(shape)

    def _outdated(self, newer: np.ndarray) -> np.ndarray:
        """Marks the hits of an id whose newer entry hits the same cell."""
        is_newer = newer[self.entry]
        if not is_newer.any():
            return is_newer
        pairs = self.cell * (int(self.column.max()) + 1) + self.column
        return ~is_newer & np.isin(pairs, pairs[is_newer])


@dataclass(frozen=True)
class ScopeStack:
    """Scopes of several kinds over the same coupons, concatenated so that one pass reads them all.

    ``scopes`` are the scopes of the kinds, in the order of their layers. ``start`` and ``coupons``
    hold the columns of all kinds, one kind after the other. ``places`` maps the ids of each kind
    to these columns.
    """

    scopes: tuple[Scope, ...]
    places: tuple[dict[str, int], ...]
    start: np.ndarray
    coupons: np.ndarray

    @classmethod
    def from_scopes(cls, scopes: Sequence[Scope]) -> "ScopeStack":
        """Concatenates scopes over the same coupons."""
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
        """The number of coupons of each scope."""
        return self.scopes[0].coupon_count

    def columns(self, ids: Sequence[Sequence[str]]) -> np.ndarray:
        """Returns the column of each id, layer after layer; -1 for an id without a coupon."""
        found = (
            map(places.get, layer, repeat(-1))
            for places, layer in zip(self.places, ids, strict=True)
        )
        return np.array(list(chain.from_iterable(found)), dtype=np.int64)


def hits_of_ids(
    scope: Scope, candidates: np.ndarray, owner: np.ndarray, ids: Sequence[str]
) -> Hits:
    """Finds each pair of an entry and a candidate that covers the id of the entry.

    ``candidates`` are rows of the coupon arrays. ``owner`` and ``ids`` have one value for each
    entry. An id that no coupon covers has no hit.

    >>> scope = Scope.from_lists([["milk", "bread"], None, ["milk"]])
    >>> found = hits_of_ids(scope, np.array([0, 2]), np.array([0, 0]), ["milk", "bread"])
    >>> found.total(np.array([5.0, 1.0]), (1, 2))
    array([[6., 5.]])
    """
    column = np.array(list(map(scope.index.get, ids, repeat(-1))), dtype=np.int64)
    return hits_of_columns(scope, candidates, owner, column)


def hits_of_columns(
    scope: Scope | ScopeStack, candidates: np.ndarray, owner: np.ndarray, column: np.ndarray
) -> Hits:
    """Finds the same pairs for columns of the scope in place of ids; -1 has no hit."""
    position = np.full(scope.coupon_count, -1, dtype=np.int64)
    position[candidates] = np.arange(len(candidates))
    matched = np.flatnonzero(column >= 0)
    first = scope.start[column[matched]]
    length = scope.start[column[matched] + 1] - first
    ends = np.cumsum(length)
    # The coupons of an entry are contiguous: a pair's number plus ``shift`` is its place there.
    shift = np.repeat(first - ends + length, length)
    candidate = position[scope.coupons[np.arange(len(shift)) + shift]]
    wanted = np.flatnonzero(candidate >= 0)
    entry, candidate = np.repeat(matched, length)[wanted], candidate[wanted]
    return Hits(entry, owner[entry] * len(candidates) + candidate, column[entry])
