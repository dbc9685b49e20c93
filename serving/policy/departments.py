"""The department of each coupon, for the limit on coupons of one department in a list."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from serving.candidates.index import CandidateIndex
from serving.candidates.unstated import UNSTATED

log = logging.getLogger(__name__)


class Departments:
    """A number for the department of each row of an index.

    ``read`` returns departments by coupon id. ``mark`` returns another value after each change of
    the lake.
    """

    def __init__(self, read: Callable[[], Mapping[str, str]], mark: Callable[[], Hashable]) -> None:
        self._read = read
        self._mark = mark
        self._read_at: Hashable | None = None
        self._departments: Mapping[str, str] = {}
        self._labels: tuple[CandidateIndex | None, np.ndarray] = (None, np.empty(0, np.int64))

    def refresh(self) -> None:
        """Reads the departments again after a change of the lake."""
        mark = self._mark()
        if mark != self._read_at:
            self._departments = self._read()
            self._labels = (None, np.empty(0, np.int64))
            self._read_at = mark
            log.info("departments of %d coupons", len(self._departments))

    def labels(self, index: CandidateIndex) -> np.ndarray:
        """Returns a number for the department of each row: int64, UNSTATED where it is unknown.

        Numbers of the last index are cached.
        """
        # One tuple, read and replaced in one step: no request gets the labels of another index.
        cached, labels = self._labels
        if cached is not index:
            labels = _numbered([self._departments.get(one) for one in index.coupon_id])
            self._labels = (index, labels)
        return labels


def _numbered(names: Sequence[str | None]) -> np.ndarray:
    """Returns the same number for the same name, UNSTATED for none."""
    numbers: dict[str, int] = {}
    return np.array(
        [UNSTATED if name is None else numbers.setdefault(name, len(numbers)) for name in names],
        dtype=np.int64,
    )
