"""Periods: calendar months, weeks, and folds that learn only from the settled past."""

import numpy as np

from feature_repo.instants import DAY, from_microseconds
from tests.support.visit_frames import MAY, visits
from training.data.split import settled_before
from training.studies.periods import WEEK, folds_of_visits, monthly, weekly


def days(starts):
    return [from_microseconds(one).isoformat() for one in starts]


def test_months_begin_at_their_first_midnight_in_utc():
    assert days(monthly(MAY + 20 * DAY + 5, MAY + 246 * DAY)) == [
        "2017-05-21T00:00:00.000005+00:00",
        *(f"2017-{month:02}-01T00:00:00+00:00" for month in range(6, 13)),
        "2018-01-01T00:00:00+00:00",
    ]
    assert monthly(MAY, MAY) == ()


def test_weeks_are_seven_days_from_the_first_instant():
    assert weekly(MAY, MAY + 3 * WEEK) == (MAY, MAY + WEEK, MAY + 2 * WEEK)


def test_every_visit_is_tested_in_one_fold_that_learns_from_the_settled_past():
    frame = visits(400, 60)
    starts = weekly(MAY + 2 * WEEK, MAY + 60 * DAY)
    folds = folds_of_visits(frame, starts, MAY + 60 * DAY)
    tested = np.concatenate([fold.test.qid for fold in folds])
    np.testing.assert_array_equal(tested, frame.qid[frame.as_of >= starts[0]])
    for fold in folds:
        expected = (frame.as_of < fold.start) & settled_before(frame, fold.start)
        np.testing.assert_array_equal(fold.train.qid, frame.qid[expected])
