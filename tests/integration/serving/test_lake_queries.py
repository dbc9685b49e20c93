import pytest

from feature_repo.lake.reader import Lake
from serving.lake_queries import active_users, redeemed
from tests.support.landing_batches import day, land, purchase, rows


def redemption(name: str, coupon: str, learned: int = 0) -> dict:
    return {
        "redemption_id": name,
        "user_id": "u1",
        "coupon_id": coupon,
        "created_timestamp": day(learned),
    }


def test_redemptions_of_a_coupon_are_also_those_that_were_corrected_to_another_one(tmp_path):
    lake = Lake(tmp_path)
    first = [redemption(name, coupon) for name, coupon in (("r1", "a"), ("r2", "b"), ("r3", "b"))]
    land(lake, {"redemptions": rows("redemptions", *first)})
    land(lake, {"redemptions": rows("redemptions", redemption("r1", "b", learned=1))})

    def told(coupons, names=()):
        return {one.redemption_id: one.coupon_id for one in redeemed(lake, coupons, names)}

    assert told({"a"}) == {"r1": "b"}
    assert told({"a"}, ["r3", "nobody"]) == {"r1": "b", "r3": "b"}
    assert told({"b"}) == {"r1": "b", "r2": "b", "r3": "b"}
    assert told(()) == {}


def at(days: float, user_id: str) -> dict:
    """A purchase so many days before the last instant that the lake is complete to."""
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
    ("most", "found"), [(1, "b"), (2, "ba"), (3, "bac"), (4, "bacd"), (9, "bacd")]
)
def test_the_users_active_last_come_first_and_nobody_from_long_ago(shop, most, found):
    assert active_users(shop, most) == list(found)
