"""What was worked out of users' purchases, kept while the very same purchases are read again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from feature_repo.transforms.request import Known, known_of
from serving.candidates import CandidateIndex

_MOST_BYTES = 96 * 2**20


class Purchases:
    """Keeps ``Known`` by user, for the candidates that were asked for last, in bounded memory.

    It holds for a user object, an index and rows: one that was read anew and differs is another
    object, so that nothing outlives a newer write online. Any thread may ask.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Any, CandidateIndex, np.ndarray, Known]] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self,
        user_id: str,
        user: Mapping[str, Any],
        columns: Mapping[str, Sequence],
        index: CandidateIndex,
        rows: np.ndarray,
    ) -> Known:
        """What the user bought of what the rows cover; ``columns`` has this user alone."""
        kept = self._kept.get(user_id)
        if (
            kept is not None
            and kept[0] is user
            and kept[1] is index
            and np.array_equal(kept[2], rows)
        ):
            return kept[3]
        found = known_of(columns, index.coupons, rows)
        self._keep(user_id, (user, index, rows, found))
        return found

    def _keep(self, user_id: str, entry: tuple[Any, CandidateIndex, np.ndarray, Known]) -> None:
        with self._lock:
            self._drop(user_id)
            self._kept[user_id] = entry
            self._bytes += _size(entry)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, user_id: str) -> None:
        entry = self._kept.pop(user_id, None)
        if entry is not None:
            self._bytes -= _size(entry)


def _size(entry: tuple[Any, CandidateIndex, np.ndarray, Known]) -> int:
    _, _, rows, found = entry
    of = found.bought
    weights = [one for weight in (of.weight, of.whole) for one in (weight.sums, weight.sizes)]
    numbers = [found.own, found.stamps, found.spend, of.references, of.last]
    arrays = [rows, *numbers, *of.values.values(), *weights]
    return sum(_OBJECT + one.nbytes for one in arrays if one is not None)


_OBJECT = 120
"""Bytes of an array beside its values."""
