"""Labels against a slow implementation of their definition, and the ends of the window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.frame import NEVER
from training.data.labels import instants, label_pairs

_users = st.sampled_from(["u1", "u2", "u3"])
_campaigns = st.sampled_from(["a", "b", "c"])
_instants = st.integers(0, 12)


def _columns(rows, **types):
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    return {
        name: np.array(column, dtype)
        for (name, dtype), column in zip(types.items(), columns, strict=True)
    }


def _exposures(rows):
    return _columns(rows, user_id=object, campaign_id=object, event_timestamp=np.int64)


def _coupons(rows):
    return _columns(rows, coupon_id=object, campaign_id=object, valid_to=np.int64)


def _redemptions(rows):
    names = {"user_id": object, "coupon_id": object}
    return _columns(rows, **names, event_timestamp=np.int64, created_timestamp=np.int64)


def _slow(exposures, coupons, redemptions):
    out = []
    for e, (user, campaign, start) in enumerate(exposures):
        for c, (coupon, of_campaign, end) in enumerate(coupons):
            if of_campaign != campaign or end <= start:
                continue
            learned = [
                known
                for by_user, of_coupon, at, known in redemptions
                if (by_user, of_coupon) == (user, coupon) and start <= at < end
            ]
            out.append((e, c, int(bool(learned)), min(learned, default=NEVER), end))
    return out


@given(
    st.lists(st.tuples(_users, _campaigns, _instants), max_size=8),
    st.lists(st.tuples(_campaigns, _instants), max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(["u1", "u2", "u9"]), st.integers(0, 7), _instants, st.integers(0, 9)
        ),
        max_size=10,
    ),
)
def test_pairs_agree_with_their_definition(exposures, plans, uses):
    coupons = [(f"k{number}", campaign, end) for number, (campaign, end) in enumerate(plans)]
    redemptions = [(user, f"k{coupon}", at, at + late) for user, coupon, at, late in uses]
    pairs = label_pairs(_exposures(exposures), _coupons(coupons), _redemptions(redemptions))
    got = zip(
        pairs.exposure, pairs.coupon, pairs.label, pairs.learned, pairs.open_until, strict=True
    )
    expected = _slow(exposures, coupons, redemptions)
    assert [tuple(int(value) for value in row) for row in got] == expected


def _label(redeemed_at, user="u1", coupon="k"):
    return label_pairs(
        _exposures([("u1", "a", 10)]),
        _coupons([("k", "a", 20)]),
        _redemptions([(user, coupon, redeemed_at, redeemed_at)]),
    ).label.tolist()


def test_redemption_counts_from_the_exposure_until_just_before_the_end():
    assert [_label(at) for at in (9, 10, 19, 20)] == [[0], [1], [1], [0]]


def test_redemption_by_another_user_or_of_an_unknown_coupon_labels_nothing():
    assert _label(15, user="u2") == [0]
    assert _label(15, coupon="elsewhere") == [0]


def test_label_is_learned_with_the_first_redemption_that_became_known():
    pairs = label_pairs(
        _exposures([("u1", "a", 0)]),
        _coupons([("k", "a", 20)]),
        _redemptions([("u1", "k", 3, 9), ("u1", "k", 5, 6)]),
    )
    assert pairs.learned.tolist() == [6]


def test_coupon_that_ended_before_the_exposure_makes_no_pair():
    pairs = label_pairs(_exposures([("u1", "a", 20)]), _coupons([("k", "a", 20)]), _redemptions([]))
    assert len(pairs) == 0


def test_instants_of_any_unit_become_microseconds():
    values = np.array(["2017-10-01T00:00:01"], "datetime64[ns]")
    assert instants(values).tolist() == [1_506_816_001_000_000]
    assert instants(np.array([7])).tolist() == [7]


def test_values_that_are_no_timestamps_are_refused():
    with pytest.raises(TypeError, match="Expected timestamps or int64 microseconds, got float64"):
        instants(np.array([1.0]))
