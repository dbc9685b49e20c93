"""Requests that share a grid have the same campaigns, and the same features of their coupons."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.candidates import Candidates
from training.data.request_grids import CouponChanges, groups_of_requests

CAMPAIGN_OF = {"k0": "a", "k1": "a", "k2": "b", "k3": "c"}
COUPON_IDS = np.array(list(CAMPAIGN_OF), dtype=object)
USERS = {"u0": 0, "u1": 1}

_changes = st.lists(
    st.tuples(st.sampled_from([*CAMPAIGN_OF, "elsewhere"]), st.integers(0, 9)), max_size=8
)
_exposures = st.lists(
    st.tuples(st.sampled_from(list(USERS)), st.sampled_from(["a", "b", "c"])), max_size=5
)
_requests = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 10)), min_size=1, max_size=8)


def changes_of(rows) -> CouponChanges:
    columns = {
        "coupon_id": np.array([one for one, _ in rows], object),
        "event_timestamp": np.array([at for _, at in rows], np.int64),
    }
    return CouponChanges.of(columns, COUPON_IDS)


def candidates_of(exposures) -> Candidates:
    """Four targeted coupons that are always valid, and exposures known from 0 on."""
    count, start = len(COUPON_IDS), np.zeros(len(exposures), np.int64)
    coupons = {
        "coupon_id": COUPON_IDS,
        "campaign_id": np.array(list(CAMPAIGN_OF.values()), object),
        "audience": np.full(count, "targeted", object),
        "valid_from": np.zeros(count, np.int64),
        "valid_to": np.full(count, 100),
        "announced_timestamp": np.full(count, -1),
        "per_user_limit": [None] * count,
    }
    reached = {
        "user_id": np.array([user for user, _ in exposures], object),
        "campaign_id": np.array([campaign for _, campaign in exposures], object),
        "event_timestamp": start,
        "created_timestamp": start,
    }
    empty = np.empty(0, object)
    nothing = {"user_id": empty, "coupon_id": empty}
    nothing |= dict.fromkeys(("event_timestamp", "created_timestamp"), np.empty(0, np.int64))
    return Candidates.of(USERS, reached, coupons, nothing)


def seen(rows, exposures, user: int, at: int) -> dict[str, int]:
    """The number of changes that each coupon of the user's campaigns has had before an instant."""
    mine = {campaign for name, campaign in exposures if USERS[name] == user}
    return {
        coupon: len({t for one, t in rows if one == coupon and t < at})
        for coupon, campaign in CAMPAIGN_OF.items()
        if campaign in mine
    }


@given(_changes, _exposures, _requests)
def test_requests_are_in_one_group_if_they_see_the_same(rows, exposures, requests):
    requests = sorted(requests, key=lambda one: one[1])
    user, at = (np.array(column) for column in zip(*requests, strict=True))
    group = groups_of_requests(candidates_of(exposures), changes_of(rows), user, at)
    same = [
        [seen(rows, exposures, *one) == seen(rows, exposures, *two) for two in requests]
        for one in requests
    ]
    np.testing.assert_array_equal(group[:, None] == group, same)


@given(_changes, st.integers(0, 3), st.integers(0, 10), st.integers(0, 10))
def test_version_of_a_coupon_is_the_same_between_two_of_its_changes(rows, coupon, one, two):
    first, second = changes_of(rows).version(np.array([coupon, coupon]), np.array([one, two]))
    mine = {t for name, t in rows if name == f"k{coupon}"}
    assert (first == second) == all((t < one) == (t < two) for t in mine)
