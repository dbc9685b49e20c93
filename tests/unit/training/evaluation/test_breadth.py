"""Months and campaigns above a model, and the share of the largest campaigns."""

import math

from training.evaluation.breadth import breadth
from training.evaluation.compare import Comparison, SliceComparison


def part(slicing: str, name: str, groups: int, difference: float) -> SliceComparison:
    against = Comparison("spend_percov", 0.5, 0.5 - difference, difference, -1, 1, groups, groups)
    return SliceComparison(slicing, name, groups, against if groups else None)


SLICES = (
    part("month", "2017-09", 100, 0.02),
    part("month", "2017-10", 30, -0.01),
    part("month", "2017-11", 29, 0.3),
    part("campaign", "13", 80, 0.03),
    part("campaign", "18", 50, 0.01),
    part("campaign", "26", 30, 0.0),
    part("campaign", "8", 20, 0.1),
    part("campaign", "9", 20, 0.1),
    part("campaign", "1", 0, 0.0),
    part("history", "cold", 200, 0.1),
)


def test_only_parts_with_enough_groups_are_counted_and_equal_is_not_above():
    found = breadth("spend_percov", SLICES, 30)
    assert (found.months, found.months_above) == (2, 1)
    assert (found.campaigns, found.campaigns_above) == (3, 2)


def test_largest_campaigns_have_their_share_of_all_groups_with_an_order():
    found = breadth("spend_percov", SLICES, 30)
    assert found.largest == ("13", "18", "26")
    assert found.largest_share == 160 / 200


def test_sentences_name_the_numbers_and_the_limit_of_the_interval():
    assert breadth("spend_percov", SLICES, 30).sentences == (
        "1 of 2 months and 2 of 3 campaigns with at least 30 groups are above spend percov. The "
        "interval by household does not cover the chance between campaigns: the 3 largest "
        "campaigns (13, 18, 26) have 80% of the groups."
    )
    alone = breadth("spend_percov", SLICES[3:4], 30).sentences
    assert alone.endswith("campaign 13 has 100% of the groups.")


def test_without_a_campaign_there_is_no_share():
    found = breadth("random", (), 30)
    assert found.largest == () and math.isnan(found.largest_share)
    assert found.sentences == (
        "0 of 0 months and 0 of 0 campaigns with at least 30 groups are above random."
    )
