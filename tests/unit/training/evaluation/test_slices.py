"""Slices of visits: month, campaign and age of the campaign, against slow definitions."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.instants import DAY, microseconds
from tests.support.ranking_frames import ranking_frame
from training.evaluation.slices import (
    CAMPAIGN,
    CAMPAIGN_AGE,
    MONTH,
    campaign_of_groups,
    first_instants,
    slices,
)


def instant(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return microseconds(datetime(year, month, day, hour, minute, tzinfo=UTC))


def test_month_is_that_of_the_visit_in_utc():
    visits = [
        instant(2017, 8, 31, 23, 59),
        instant(2017, 9, 1),
        instant(2017, 12, 31, 23, 59),
        instant(2018, 1, 1),
    ]
    frame = ranking_frame(["a", "b", "c", "d"], [0, 0, 1, 0], as_of=visits)
    assert slices(frame, {})[MONTH].tolist() == ["2017-08", "2017-09", "2017-12", "2018-01"]


def test_campaign_of_a_visit_is_the_one_with_most_redeemed_coupons():
    frame = ranking_frame(
        ["a"] * 4 + ["b"] * 3 + ["c"] * 2,
        [1, 1, 1, 0, 1, 0, 1, 0, 0],
        campaign_id=["8", "13", "13", "1", "9", "10", "18", "5", "26"],
    )
    found = slices(frame, {"13": "Type A", "18": "Type B"})
    # Ids are text: of two campaigns with one redeemed coupon each, 18 is before 9.
    assert found[CAMPAIGN].tolist() == ["13", "18", "26"]
    assert found["campaign type"].tolist() == ["Type A", "Type B", "unknown"]


def _slow_campaign(rows: list[tuple[str, int]]) -> str:
    redeemed = Counter({campaign: 0 for campaign, _ in rows})
    redeemed.update(campaign for campaign, label in rows if label)
    return min(redeemed, key=lambda campaign: (-redeemed[campaign], campaign))


rows = st.tuples(st.sampled_from(["1", "2", "10", "11"]), st.integers(0, 1))


@settings(deadline=None)
@given(st.lists(st.lists(rows, min_size=1, max_size=6), min_size=1, max_size=6))
def test_campaigns_agree_with_their_definition(visits):
    flat = [(f"q{n}", *row) for n, visit in enumerate(visits) for row in visit]
    qid, campaign, label = (list(column) for column in zip(*flat, strict=True))
    frame = ranking_frame(qid, label, campaign_id=campaign)
    assert campaign_of_groups(frame).tolist() == [_slow_campaign(visit) for visit in visits]


def test_campaign_is_in_its_first_month_for_thirty_days():
    start = instant(2017, 5, 8)
    visits = [start, start + 30 * DAY - 1, start + 30 * DAY]
    frame = ranking_frame(["a", "b", "c"], [1, 1, 1], campaign_id="8", as_of=visits)
    assert slices(frame, {})[CAMPAIGN_AGE].tolist() == ["first month", "first month", "later"]
    early = {"8": start - DAY}
    assert slices(frame, {}, early)[CAMPAIGN_AGE].tolist() == ["first month", "later", "later"]
    assert set(slices(frame, {}, {"9": start})[CAMPAIGN_AGE]) == {"unknown"}


def test_campaign_starts_with_its_first_candidate_even_if_another_one_is_redeemed():
    frame = ranking_frame(
        ["a", "a", "b", "b"], [1, 0, 0, 1], campaign_id=["8", "13", "8", "13"], as_of=[7, 7, 9, 9]
    )
    assert first_instants(frame) == {"8": 7, "13": 7}
    assert np.all(slices(frame, {})[CAMPAIGN] == ["8", "13"])
