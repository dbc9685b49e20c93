import pytest

from feature_repo.lake.reader import Lake
from serving.lake_queries import active_users, redemptions
from tests.support.landing_batches import day, land, purchase, rows


def redemption(name: str, coupon: str, learned: int = 0) -> dict:
    return {
        "redemption_id": name,
        "user_id": "u1",
        "coupon_id": coupon,
        "created_timestamp": day(learned),
    }


def test_redemptions_of_a_coupon_include_those_corrected_to_another_coupon(tmp_path):
    lake = Lake(tmp_path)
    first = [redemption(name, coupon) for name, coupon in (("r1", "a"), ("r2", "b"), ("r3", "b"))]
    land(lake, {"redemptions": rows("redemptions", *first)})
    land(lake, {"redemptions": rows("redemptions", redemption("r1", "b", learned=1))})

    def coupon_by_id(coupons, ids=()):
        return {one.redemption_id: one.coupon_id for one in redemptions(lake, coupons, ids)}

    assert coupon_by_id({"a"}) == {"r1": "b"}
    assert coupon_by_id({"a"}, ["r3", "unknown"]) == {"r1": "b", "r3": "b"}
    assert coupon_by_id({"b"}) == {"r1": "b", "r2": "b", "r3": "b"}
    assert coupon_by_id(()) == {}


def test_redemption_that_was_taken_back_is_marked(tmp_path):
    lake = Lake(tmp_path)
    land(lake, {"redemptions": rows("redemptions", redemption("r1", "a"), redemption("r2", "a"))})
    back = redemption("r1", "a", learned=1) | {"canceled_timestamp": day(1)}
    land(lake, {"redemptions": rows("redemptions", back)})
    found = {one.redemption_id: one.is_taken_back for one in redemptions(lake, {"a"}, ())}
    assert found == {"r1": True, "r2": False}


def at(days: float, user_id: str) -> dict:
    """A purchase ``days`` before the watermark of the lake."""
    number = END - days
    return purchase(f"{user_id}-{days}", number) | {"user_id": user_id}


END = 60


@pytest.fixture
def shop(tmp_path) -> Lake:
    lake = Lake(tmp_path)
    bought = [at(0.1, "b"), at(0.5, "a"), at(2, "c"), at(3, "a"), at(20, "d"), at(40, "e")]
    land(lake, {"events": rows("events", *bought)}, watermark=day(END))
    return lake


@pytest.mark.parametrize(
    ("limit", "found"), [(1, "b"), (2, "ba"), (3, "bac"), (4, "bacd"), (9, "bacd")]
)
def test_most_recently_active_users_come_first_and_inactive_ones_are_left_out(shop, limit, found):
    assert active_users(shop, limit) == list(found)
