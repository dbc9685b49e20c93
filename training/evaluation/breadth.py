"""Breadth of an advantage: months and campaigns above a model, and the largest campaigns' share."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.compare import SliceComparison
from training.evaluation.slices import CAMPAIGN, MONTH

LARGEST = 3
"""Number of campaigns whose common share of the groups is shown."""


@dataclass(frozen=True)
class Breadth:
    """Months and campaigns with at least ``least_groups`` groups, and those above the other model.

    ``largest`` are the campaigns with most groups. ``largest_share`` is their share of all groups
    with an order. An interval by household cannot show the chance between so few campaigns.
    """

    other: str
    least_groups: int
    months: int
    months_above: int
    campaigns: int
    campaigns_above: int
    largest: tuple[str, ...]
    largest_share: float

    @property
    def sentences(self) -> str:
        """Two sentences with the numbers."""
        other = self.other.replace("_", " ")
        above = (
            f"{self.months_above} of {self.months} months and {self.campaigns_above} of "
            f"{self.campaigns} campaigns with at least {self.least_groups} groups are above "
            f"{other}."
        )
        if not self.largest:
            return above
        largest = (
            f"the {len(self.largest)} largest campaigns ({', '.join(self.largest)}) have"
            if len(self.largest) > 1
            else f"campaign {self.largest[0]} has"
        )
        return (
            f"{above} The interval by household does not cover the chance between campaigns: "
            f"{largest} {self.largest_share:.0%} of the groups."
        )


def breadth(other: str, slices: Sequence[SliceComparison], least_groups: int) -> Breadth:
    """Counts the months and campaigns among ``slices``, which compare the ranker with ``other``.

    Slices of other slicings do not count.
    """
    months, campaigns = (
        [one for one in slices if one.slicing == slicing and one.groups]
        for slicing in (MONTH, CAMPAIGN)
    )
    largest = sorted(campaigns, key=lambda one: (-one.groups, one.part))[:LARGEST]
    total = sum(one.groups for one in campaigns)
    return Breadth(
        other,
        least_groups,
        *_counts(months, least_groups),
        *_counts(campaigns, least_groups),
        tuple(one.part for one in largest),
        sum(one.groups for one in largest) / total if total else float("nan"),
    )


def _counts(slices: Sequence[SliceComparison], least_groups: int) -> tuple[int, int]:
    judged = [one.against for one in slices if one.groups >= least_groups and one.against]
    return len(judged), sum(one.difference > 0 for one in judged)
