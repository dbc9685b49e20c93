"""A coupon is a candidate of training from the instant at which it covers something."""

from feature_repo.lake.reader import Lake
from tests.support.landing_batches import coupon, day, land, rows
from training.data.dataset import raw_tables


def test_coupon_is_announced_when_it_covers_something_and_left_out_if_it_never_does(tmp_path):
    lake = Lake(tmp_path)
    coupons = [coupon("early"), coupon("late"), coupon("nothing"), coupon("all")]
    coupons[-1]["covers_whole_cart"] = True
    pairs = [("early", 0), ("late", 5), ("late", 7)]
    land(
        lake,
        {
            "coupons": rows("coupons", *coupons),
            "coupon_products": rows(
                "coupon_products",
                *(
                    {"coupon_id": one, "product_id": f"p{n}", "event_timestamp": day(n)}
                    for one, n in pairs
                ),
            ),
        },
    )
    found = raw_tables(lake, lake.state()).coupons.to_pylist()
    assert {one["coupon_id"]: one["announced_timestamp"] for one in found} == {
        "all": day(0),
        "early": day(0),
        "late": day(5),
    }
