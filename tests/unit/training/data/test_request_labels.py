"""Candidates and labels of requests against a slow implementation of their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.instants import DAY
from training.data.frame import NEVER
from training.data.request_labels import RequestLabels, RequestPairs

HALF = DAY // 2
USERS = ["u1", "u2"]


def _halves(first: int, last: int):
    return st.integers(first, last).map(lambda half: half * HALF)


# So few values that most examples have redeemed candidates, and instants that meet.
_users = st.sampled_from(USERS)
_instants = _halves(1, 6)
_baskets = st.sampled_from(["b1", "b2", None])

_requests = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": _users,
            "event_timestamp": _instants,
            "basket_id": _baskets,
            "home": st.booleans(),
            "checkout": st.booleans(),
        }
    ),
    max_size=8,
)
_exposures = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from([*USERS, "stranger"]),
            "campaign_id": st.sampled_from(["a", "b", "elsewhere"]),
            "event_timestamp": _halves(0, 3),
            "created_timestamp": _halves(0, 3),
        }
    ),
    max_size=8,
)
_coupons = st.lists(
    st.fixed_dictionaries(
        {
            "campaign_id": st.sampled_from(["a", "b"]),
            "audience": st.sampled_from(["targeted", "targeted", "open"]),
            "valid_from": _halves(0, 2),
            "valid_to": _halves(3, 7),
            "announced_timestamp": _halves(-1, 2),
            "per_user_limit": st.sampled_from([None, 1, 2]),
        }
    ),
    max_size=3,
)
_redemptions = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from([*USERS, "stranger"]),
            "coupon_id": st.sampled_from([f"k{number}" for number in range(4)]),
            "basket_id": st.sampled_from(["b1", "b2", "b9", None]),
            "event_timestamp": _instants,
            "created_timestamp": _instants,
        }
    ),
    max_size=10,
)

REQUEST = {"user_id": "u1", "event_timestamp": 0, "basket_id": None, "home": True, "checkout": True}
COUPON = {
    "campaign_id": "a",
    "audience": "open",
    "valid_from": 0,
    "valid_to": 100 * DAY,
    "announced_timestamp": -1,
    "per_user_limit": None,
}
USE = {"user_id": "u1", "coupon_id": "k0", "basket_id": None}


def columns(rows, names):
    kinds = {name: np.int64 for name in names if name.endswith(("_timestamp", "_from", "_to"))}
    return {
        name: np.array([row[name] for row in rows] or [], kinds.get(name, object)) for name in names
    }


def pairs_of(requests, exposures, coupons, redemptions, rows=None) -> RequestPairs:
    labels = RequestLabels.of(
        columns(requests, REQUEST),
        columns(exposures, ("user_id", "campaign_id", "event_timestamp", "created_timestamp")),
        columns(coupons, ("coupon_id", *COUPON)),
        columns(redemptions, (*USE, "event_timestamp", "created_timestamp")),
    )
    return labels.pairs(np.arange(len(requests)) if rows is None else np.array(rows, int))


def known(row):
    return max(row["event_timestamp"], row["created_timestamp"])


def slow(requests, exposures, coupons, redemptions):
    out = []
    for r, request in enumerate(requests):
        t, user = request["event_timestamp"], request["user_id"]
        for c, coupon in enumerate(coupons):
            used = [
                one
                for one in redemptions
                if (one["user_id"], one["coupon_id"]) == (user, coupon["coupon_id"])
            ]
            is_reached = coupon["audience"] == "open" or any(
                (one["user_id"], one["campaign_id"]) == (user, coupon["campaign_id"])
                and known(one) < t
                for one in exposures
            )
            is_valid = coupon["valid_from"] <= t < coupon["valid_to"]
            is_left = sum(known(one) < t for one in used) < (coupon["per_user_limit"] or 1)
            if not (is_reached and is_valid and is_left and coupon["announced_timestamp"] < t):
                continue
            here = [one for one in used if r in visits(requests, one)]
            later = [t <= one["event_timestamp"] < coupon["valid_to"] for one in used]
            learned = min(map(known, here), default=NEVER)
            out.append((r, c, int(bool(here)), int(bool(here) or any(later)), learned))
    return out


def visits(requests, redemption):
    """The requests that a redemption belongs to: at most one of each ranker."""
    found = set()
    for ranker in ("home", "checkout"):
        ours = [
            (request["event_timestamp"], r)
            for r, request in enumerate(requests)
            if request[ranker] and request["user_id"] == redemption["user_id"]
        ]
        basket = redemption["basket_id"]
        stated = {r for _, r in ours if basket and requests[r]["basket_id"] == basket}
        at = redemption["event_timestamp"]
        before = [(t, r) for t, r in ours if at - DAY <= t <= at]
        found |= stated or ({max(before)[1]} if before else set())
    return found


def rows_of(pairs):
    names = ("request", "coupon", "label", "later", "learned")
    return list(zip(*(getattr(pairs, name).tolist() for name in names), strict=True))


@settings(max_examples=400)
@given(_requests, _exposures, _coupons, _redemptions)
def test_pairs_agree_with_their_definition(requests, exposures, coupons, redemptions):
    requests = sorted(requests, key=lambda one: one["event_timestamp"])
    coupons = [one | {"coupon_id": f"k{number}"} for number, one in enumerate(coupons)]
    expected = slow(requests, exposures, coupons, redemptions)
    assert rows_of(pairs_of(requests, exposures, coupons, redemptions)) == expected
    odd = range(1, len(requests), 2)
    part = pairs_of(requests, exposures, coupons, redemptions, odd)
    assert rows_of(part) == [row for row in expected if row[0] % 2]


def labels_of(instants, uses, *, baskets=None, limit=None):
    """The labels of coupon k0 at requests of one user; None where it is no candidate."""
    requests = [REQUEST | {"event_timestamp": t} for t in instants]
    for request, basket in zip(requests, baskets or [], strict=bool(baskets)):
        request["basket_id"] = basket
    coupon = COUPON | {"coupon_id": "k0", "per_user_limit": limit}
    found = pairs_of(requests, [], [coupon], uses)
    by_request = dict(zip(found.request.tolist(), found.label.tolist(), strict=True))
    return [by_request.get(r) for r in range(len(instants))]


def use(at, learned=None, basket=None):
    learned = at if learned is None else learned
    return USE | {"event_timestamp": at, "created_timestamp": learned, "basket_id": basket}


def test_redemption_belongs_to_its_basket_and_not_to_a_later_one_of_the_day():
    baskets = ["b1", "b2"]
    assert labels_of([10, 20], [use(30, DAY, "b1")], baskets=baskets) == [1, 0]


def test_redemption_without_a_basket_belongs_to_the_last_request_of_the_24_hours():
    assert labels_of([10, 20], [use(30, DAY)]) == [0, 1]
    assert labels_of([10], [use(10 + DAY)]) == [1]
    assert labels_of([10], [use(11 + DAY)]) == [0]
    assert labels_of([10], [use(9)]) == [None]


def test_redeemed_coupon_stays_a_candidate_until_the_redemption_is_learned():
    """A redemption of today is learned tonight, so its coupon is a candidate all day."""
    assert labels_of([10, 20, DAY, DAY + 1], [use(10, DAY)]) == [1, 0, 0, None]


def test_coupon_with_a_limit_of_two_leaves_after_the_second_redemption():
    uses = [use(10), use(20)]
    assert labels_of([10, 20, 30], uses, limit=2) == [1, 1, None]
    assert labels_of([10, 20, 30], uses, limit=None) == [1, None, None]


def test_redemption_at_a_later_visit_is_later_and_not_now():
    requests = [REQUEST | {"event_timestamp": t} for t in (10, 20 + DAY)]
    found = pairs_of(requests, [], [COUPON | {"coupon_id": "k0"}], [use(20 + DAY)])
    assert found.label.tolist() == [0, 1] and found.later.tolist() == [1, 1]
    assert found.learned.tolist() == [NEVER, 20 + DAY]


def test_redemption_by_another_user_does_not_remove_a_coupon():
    assert labels_of([10, 20], [use(5) | {"user_id": "u2"}]) == [0, 0]


@pytest.mark.parametrize("known_at, expected", [(9, [0]), (10, [None])])
def test_exposure_counts_once_it_is_known_before_the_request(known_at, expected):
    exposure = {"user_id": "u1", "campaign_id": "a"}
    exposure |= {"event_timestamp": 0, "created_timestamp": known_at}
    coupon = COUPON | {"coupon_id": "k0", "audience": "targeted"}
    found = pairs_of([REQUEST | {"event_timestamp": 10}], [exposure], [coupon], [])
    assert found.label.tolist() == [one for one in expected if one is not None]
