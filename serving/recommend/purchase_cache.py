"""Cache of features computed from a user's purchases; valid while the stored user is unchanged."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from feature_repo.online.format.entity import Entity
from feature_repo.transforms.request.ranker_inputs import StaticInputs, static_inputs
from serving.candidates.index import CandidateIndex

_MOST_BYTES = 96 * 2**20

_ARRAY_OBJECT_BYTES = 120
"""Size of a NumPy array beside its values."""


@dataclass(frozen=True)
class _Entry:
    """Features, with the user object, index and rows that they are of; ``size`` is in bytes."""

    user: ReferenceType[Entity]
    index: CandidateIndex
    rows: np.ndarray
    inputs: StaticInputs
    size: int

    def inputs_of(
        self, user: Entity, index: CandidateIndex, rows: np.ndarray
    ) -> StaticInputs | None:
        """The features of rows; None unless they are of this user and index, and all here."""
        if self.user() is not user or self.index is not index:
            return None
        if np.array_equal(self.rows, rows):
            return self.inputs
        places = np.searchsorted(self.rows, rows)
        if places.max(initial=-1) >= len(self.rows) or (self.rows[places] != rows).any():
            return None
        return self.inputs.take(places)


class PurchaseCache:
    """Caches each user's purchase features for the candidates of a request.

    An entry is valid for one user object, one index, and rows among its own: a checkout, which
    shows few coupons, uses that of the home page before it. A user that changed in the store is
    another object, so no entry outlives a newer write. Another index drops all entries.
    Evicts the oldest entries beyond ``most_bytes``. Thread-safe. ``compute`` computes an entry.
    """

    def __init__(
        self, most_bytes: int = _MOST_BYTES, compute: Callable[..., StaticInputs] = static_inputs
    ) -> None:
        self._most_bytes = most_bytes
        self._compute = compute
        self._index: CandidateIndex | None = None
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """True if one more entry of average size would evict another one."""
        count = len(self._entries)
        return count > 0 and self.bytes * (count + 1) > self._most_bytes * count

    @property
    def user_ids(self) -> list[str]:
        """The users with an entry, the next to be evicted first."""
        return [*self._entries]

    def purchases_of(
        self,
        user_id: str,
        user: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any]],
        index: CandidateIndex,
        rows: np.ndarray,
    ) -> StaticInputs:
        """The purchase features of a user and index rows, computed if there is no valid entry.

        ``columns`` holds this user's features alone. ``rows`` are ascending. A user that is not an
        ``Entity`` is not cached: it does not show whether the stored user changed.
        """
        if not isinstance(user, Entity):
            return self._compute(columns, index.coupons, rows)
        entry = self._entries.get(user_id)
        found = None if entry is None else entry.inputs_of(user, index, rows)
        if found is not None:
            return found
        inputs = self._compute(columns, index.coupons, rows)
        size = _size(inputs) + rows.nbytes
        self._add(user_id, _Entry(ref(user), index, rows, inputs, size))
        return inputs

    def _add(self, user_id: str, entry: _Entry) -> None:
        with self._lock:
            if entry.index is not self._index:
                self._entries, self.bytes, self._index = OrderedDict(), 0, entry.index
            self._evict(user_id)
            self._entries[user_id] = entry
            self.bytes += entry.size
            while self.bytes > self._most_bytes:
                self._evict(next(iter(self._entries)))

    def _evict(self, user_id: str) -> None:
        entry = self._entries.pop(user_id, None)
        if entry is not None:
            self.bytes -= entry.size


def _size(inputs: StaticInputs) -> int:
    own = inputs.purchases
    weights = [one for weight in (own.weight, own.whole) for one in (weight.sums, weight.sizes)]
    numbers = [inputs.user, inputs.recency, inputs.instants, inputs.spend, inputs.campaign]
    numbers += [own.fixed, own.references, own.last]
    arrays = [*numbers, *weights]
    return sum(_ARRAY_OBJECT_BYTES + one.nbytes for one in arrays if one is not None)
