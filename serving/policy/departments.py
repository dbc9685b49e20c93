"""Which department each coupon belongs to, for lists that show some of each."""

import logging
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from serving.candidates.index import CandidateIndex
from serving.policy.exploration import NO_LABEL

log = logging.getLogger(__name__)


class Departments:
    """The department of every coupon as a number for each row of an index.

    ``read`` gives the department by coupon id, ``mark`` another value whenever that may differ.
    """

    def __init__(self, read: Callable[[], Mapping[str, str]], mark: Callable[[], Hashable]) -> None:
        self._read = read
        self._mark = mark
        self._read_at: Hashable | None = None
        self._known: Mapping[str, str] = {}
        self._labels: tuple[CandidateIndex | None, np.ndarray] = (None, np.empty(0, np.int64))

    def refresh(self) -> None:
        """Read them again if they may have changed."""
        mark = self._mark()
        if mark != self._read_at:
            self._known = self._read()
            self._labels = (None, np.empty(0, np.int64))
            self._read_at = mark
            log.info("departments of %d coupons", len(self._known))

    def of(self, index: CandidateIndex) -> np.ndarray:
        """A number for the department of each row, -1 where it is not known; int64."""
        # Read and set as one, so that no request sees the labels of another index.
        seen, labels = self._labels
        if seen is not index:
            labels = labels_of([self._known.get(one) for one in index.coupon_id])
            self._labels = (index, labels)
        return labels


def labels_of(names: list[str | None]) -> np.ndarray:
    """The same number for the same name, -1 for none."""
    numbers: dict[str, int] = {}
    return np.array(
        [NO_LABEL if name is None else numbers.setdefault(name, len(numbers)) for name in names],
        dtype=np.int64,
    )
