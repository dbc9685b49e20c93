"""The checks of a frame, and the split by time."""

from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.ranking_frames import ranking_frame
from training.data.frame import NEVER, FrameError, check_frame, frame_problem, groups, shared, take
from training.data.split import SplitError, TimeSplit, split

AT = TimeSplit(10, 20)


def _frame(rows):
    """Builds a frame from rows of (qid, as_of, label, open_until, learned), one coupon each."""
    qid, as_of, label, open_until, learned = zip(*rows, strict=True)
    return ranking_frame(
        qid,
        label,
        coupon_id=[f"k{row}" for row in range(len(rows))],
        as_of=as_of,
        open_until=open_until,
        learned=learned,
    )


def _good():
    return _frame([("a", 1, 1, 9, 5), ("a", 1, 0, 9, NEVER), ("b", 25, 0, 30, NEVER)])


@st.composite
def _frames(draw):
    rows = []
    for number in range(draw(st.integers(1, 6))):
        as_of = draw(st.integers(0, 29))
        for _ in range(draw(st.integers(1, 4))):
            learned = draw(st.one_of(st.just(NEVER), st.integers(as_of, 40)))
            open_until = draw(st.integers(as_of + 1, 40))
            rows.append((f"q{number}", as_of, int(learned < NEVER), open_until, learned))
    rows += [("first", 0, 0, 5, NEVER), ("last", 29, 1, 35, 33)]
    return _frame(rows)


@given(_frames(), st.data())
def test_shared_rows_are_those_of_a_copy_and_a_run_is_not_copied(frame, data):
    rows = np.array(data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame))))
    found, copied = shared(frame, rows), take(frame, rows)
    for one in fields(frame):
        np.testing.assert_array_equal(getattr(found, one.name), getattr(copied, one.name))
    start = data.draw(st.integers(0, len(frame) - 1))
    run = np.arange(len(frame)) >= start
    assert np.shares_memory(shared(frame, run).inputs, frame.inputs)
    with pytest.raises(IndexError):
        shared(frame, run[1:])


@given(_frames())
def test_split_keeps_groups_whole_and_uses_nothing_known_after_the_cutoff(frame):
    train, valid, test = split(frame, AT)
    names = [set(part.qid) for part in (train, valid, test)]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    for part in (train, valid):
        assert (part.learned[part.label == 1] < AT.test_start).all()
        assert (part.open_until[part.label == 0] <= AT.test_start).all()
    assert (train.as_of < 10).all()
    assert ((valid.as_of >= 10) & (valid.as_of < 20)).all()
    assert test.coupon_id.tolist() == frame.coupon_id[frame.as_of >= 20].tolist()


def test_coupon_still_open_at_the_cutoff_is_left_out_of_training():
    frame = _frame([("a", 1, 0, 21, NEVER), ("b", 1, 0, 20, NEVER), ("t", 20, 1, 30, 25)])
    assert split(frame, AT)[0].qid.tolist() == ["b"]


def test_redemption_that_became_known_at_the_cutoff_is_left_out_of_training():
    frame = _frame([("a", 1, 1, 9, 20), ("b", 1, 1, 30, 19), ("t", 20, 1, 30, 25)])
    assert split(frame, AT)[0].qid.tolist() == ["b"]


def test_split_without_test_visits_is_refused():
    with pytest.raises(SplitError, match="Expected visits for test, got none in 1 pairs"):
        split(_frame([("a", 1, 0, 9, NEVER)]), AT)


def test_split_without_a_redemption_in_test_is_refused():
    frame = _frame([("a", 1, 1, 9, 5), ("t", 20, 0, 30, NEVER), ("t", 20, 0, 30, NEVER)])
    with pytest.raises(SplitError, match="Expected redemptions in test, got none in 2 pairs"):
        split(frame, AT)


def test_valid_starts_the_given_weeks_before_test():
    at = TimeSplit.before(datetime(2017, 10, 1, tzinfo=UTC), valid_weeks=8)
    assert at.test_start == int(datetime(2017, 10, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert at.valid_start == int(datetime(2017, 8, 6, tzinfo=UTC).timestamp()) * 1_000_000


def test_naive_test_start_is_refused():
    with pytest.raises(SplitError, match="with a time zone"):
        TimeSplit.before(datetime(2017, 10, 1))


def test_valid_that_starts_after_test_is_refused():
    with pytest.raises(SplitError, match="Expected valid_start before test_start"):
        TimeSplit(20, 20)


def test_groups_of_a_valid_frame_start_at_each_new_qid():
    check_frame(_good())
    assert groups(_good()).tolist() == [0, 2]
    assert take(_good(), np.array([False, True, True])).qid.tolist() == ["a", "b"]


def _with_nan(name):
    inputs = _good().inputs.copy()
    inputs[1, RANKER_INPUTS.index(name)] = np.nan
    return replace(_good(), inputs=inputs)


BAD = {
    "got 3 runs for 2 requests": take(_good(), np.array([0, 2, 1])),
    "Expected pairs of requests and coupons, got none": take(_good(), np.array([], int)),
    "Expected at least one redeemed coupon": replace(_good(), label=np.zeros(3, np.int8)),
    "Expected scope_product_count for every pair, got none for 1": _with_nan("scope_product_count"),
    "Expected covered_purchase_count_90d": _with_nan("covered_purchase_count_90d"),
    "Expected inputs of shape": replace(_good(), inputs=_good().inputs[:, 1:]),
    "Expected 3 values of learned, got 2": replace(_good(), learned=np.zeros(2, np.int64)),
    "Expected one as_of for each request": replace(_good(), as_of=np.array([1, 2, 25])),
    "Expected one weight for each request": replace(_good(), weight=np.array([1, 2, 1])),
    "Expected weights above 0, got 0": replace(_good(), weight=np.zeros(3)),
    "Expected later = 1 for every coupon with label 1, got 0 for 1": replace(
        _good(), later=np.zeros(3, np.int8)
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_frame_unfit_for_training_is_refused_with_the_reason(sentence):
    with pytest.raises(FrameError, match=sentence):
        check_frame(BAD[sentence])


def test_unknown_age_of_a_user_is_accepted():
    assert frame_problem(_with_nan("age_min")) is None
