"""What was worked out of users' purchases, kept while the very same purchases are read again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from feature_repo.online.format.entity import Entity
from feature_repo.transforms.request.ranker_inputs import Known, known_of
from serving.candidates.index import CandidateIndex

_MOST_BYTES = 96 * 2**20


@dataclass(frozen=True)
class _Entry:
    """What is known of a user, and of which object, index and rows it is; ``size`` in bytes."""

    user: ReferenceType[Entity]
    index: CandidateIndex
    rows: bytes
    known: Known
    size: int

    def holds_for(self, user: Entity, index: CandidateIndex, rows: bytes) -> bool:
        return self.user() is user and self.index is index and self.rows == rows


class PurchaseCache:
    """Keeps what is known of users and the candidates they were asked with last, in bounded memory.

    It holds for a user as an object, an index and rows: a user who was read anew and differs is
    another object, so that nothing outlives a newer write online. With another index all that was
    kept goes, and the index before with it. Any thread may ask.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._index: CandidateIndex | None = None
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether one more, as large as they are on average, pushes out another one."""
        count = len(self._kept)
        return count > 0 and self._bytes * (count + 1) > self._most_bytes * count

    def of(
        self,
        user_id: str,
        user: Mapping[str, Any],
        columns: Mapping[str, Sequence],
        index: CandidateIndex,
        rows: np.ndarray,
    ) -> Known:
        """What is known of the user and the rows; ``columns`` has this user alone."""
        if not isinstance(user, Entity):
            return known_of(columns, index.coupons, rows)
        kept, named = self._kept.get(user_id), rows.tobytes()
        if kept is not None and kept.holds_for(user, index, named):
            return kept.known
        known = known_of(columns, index.coupons, rows)
        self._keep(user_id, _Entry(ref(user), index, named, known, _size(known) + len(named)))
        return known

    def _keep(self, user_id: str, entry: _Entry) -> None:
        with self._lock:
            if entry.index is not self._index:
                self._kept, self._bytes, self._index = OrderedDict(), 0, entry.index
            self._drop(user_id)
            self._kept[user_id] = entry
            self._bytes += entry.size
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, user_id: str) -> None:
        entry = self._kept.pop(user_id, None)
        if entry is not None:
            self._bytes -= entry.size


def _size(known: Known) -> int:
    of = known.bought
    weights = [one for weight in (of.weight, of.whole) for one in (weight.sums, weight.sizes)]
    numbers = [known.own, known.recency, known.stamps, known.spend]
    numbers += [of.settled, of.references, of.last]
    arrays = [*numbers, *weights]
    return sum(_OBJECT + one.nbytes for one in arrays if one is not None)


_OBJECT = 120
"""Bytes of an array beside its values."""
