"""Groups in which an order exists: some candidates were redeemed, and some were not.

Every ranking of any other group is equally good, so such a group has no value in a ranking metric.
"""

from dataclasses import dataclass

import numpy as np

from training.data.frame import group_sizes, group_starts


@dataclass(frozen=True)
class WithoutOrder:
    """Counts of the groups without an order, by reason, and of all groups.

    A group with one candidate counts as such, redeemed or not.
    """

    groups: int = 0
    one_candidate: int = 0
    none_redeemed: int = 0
    all_redeemed: int = 0

    @property
    def total(self) -> int:
        """The number of groups without an order."""
        return self.one_candidate + self.none_redeemed + self.all_redeemed

    @property
    def with_order(self) -> int:
        """The number of groups with an order."""
        return self.groups - self.total

    @property
    def sentence(self) -> str:
        """A sentence with the number of groups left out of the metrics, by reason.

        >>> WithoutOrder(9, 1, 5, 0).sentence
        'Without an order are 6 of 9 groups: 1 with one candidate, 5 without a redemption.'
        """
        counts = (
            (self.one_candidate, "with one candidate"),
            (self.none_redeemed, "without a redemption"),
            (self.all_redeemed, "with all candidates redeemed"),
        )
        reasons = ", ".join(f"{count:,} {reason}" for count, reason in counts if count)
        total = f"Without an order are {self.total:,} of {self.groups:,} groups"
        return f"{total}: {reasons}." if reasons else f"{total}."


def has_order(sizes: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Returns a mask of the groups with redeemed and unredeemed candidates.

    >>> has_order(sizes=np.array([1, 3, 3, 3]), positives=np.array([1, 0, 1, 3])).tolist()
    [False, False, True, False]
    """
    return (positives > 0) & (positives < sizes)


def groups_with_order(qid: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns a mask of the groups with an order under these labels, one value for each group."""
    return has_order(*_sizes_and_positives(qid, label))


def rows_with_order(qid: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns a mask of the rows whose group has an order under these labels.

    >>> rows_with_order(np.array(["a", "a", "b"]), np.array([1, 0, 1])).tolist()
    [True, True, False]
    """
    sizes, positives = _sizes_and_positives(qid, label)
    return np.repeat(has_order(sizes, positives), sizes)


def without_order(qid: np.ndarray, label: np.ndarray) -> WithoutOrder:
    """Counts the groups without an order under these labels, by reason.

    >>> without_order(np.array(["a", "a", "b", "c", "c"]), np.array([1, 0, 1, 0, 0]))
    WithoutOrder(groups=3, one_candidate=1, none_redeemed=1, all_redeemed=0)
    """
    return count_without_order(*_sizes_and_positives(qid, label))


def count_without_order(sizes: np.ndarray, positives: np.ndarray) -> WithoutOrder:
    """Counts the groups without an order by their candidates and redeemed coupons."""
    several = sizes > 1
    return WithoutOrder(
        len(sizes),
        int((~several).sum()),
        int((several & (positives == 0)).sum()),
        int((several & (positives == sizes)).sum()),
    )


def _sizes_and_positives(qid: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    starts = group_starts(qid)
    sizes = group_sizes(starts, len(qid))
    owner = np.repeat(np.arange(len(starts)), sizes)
    return sizes, np.bincount(owner[np.asarray(label) > 0], minlength=len(starts))
