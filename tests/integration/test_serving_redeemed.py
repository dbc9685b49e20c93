from landing_batches import day, land, rows

from feature_repo.lake import Lake
from serving.known import redeemed


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
