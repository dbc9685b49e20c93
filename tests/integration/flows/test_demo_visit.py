"""The demo's household and its cart, from a small lake."""

import pytest

from feature_repo.instants import from_microseconds
from feature_repo.lake.reader import Lake
from flows.cli.demo_visit import NoVisit, Visit, last_basket
from tests.support.feature_logs import DAY, START, WATERMARK, complete, land

EXPOSED = START + DAY
LAST = START + 3 * DAY


def row(at: int, **columns) -> dict:
    return {"event_timestamp": at, "created_timestamp": at} | columns


def coupon(name: str, **columns) -> dict:
    validity = {"valid_from": START, "valid_to": WATERMARK + DAY}
    ids = {"coupon_id": name, "coupon_code": name, "campaign_id": "a", "audience": "targeted"}
    return row(START, **ids | validity | columns)


def covers(name: str, *products: str) -> list[dict]:
    return [row(START, coupon_id=name, product_id=one) for one in products]


def line(user: str, product: str, at: int = LAST, **columns) -> dict:
    ids = {"event_id": f"{user}-{product}-{at}", "user_id": user, "basket_id": f"{user}-{at}"}
    default = {"event_type": "purchase", "product_id": product, "quantity": 1, "amount": 100}
    return row(at, **ids | default | columns)


def visit(home, coupons=(), scopes=(), events=(), redemptions=()) -> Visit:
    """The example of a shop in which u1 and u2 are exposed to campaign a."""
    products = ({"product_id": f"p{n}", "name": f"Product {n}"} for n in range(1, 5))
    exposures = (
        {"exposure_id": f"x{user}", "user_id": user, "campaign_id": "a"} for user in ("u1", "u2")
    )
    log = {
        "products": [
            *(row(START, department="FOOD", **one) for one in products),
            row(START, product_id="slip", name="Slip", department="COUPON"),
        ],
        "coupons": list(coupons),
        "coupon_products": list(scopes),
        "exposures": [row(EXPOSED, **one) for one in exposures],
        "events": list(events),
        "redemptions": list(redemptions),
    }
    land(home, complete(log))
    return last_basket(Lake(home))


def test_household_is_the_one_whose_last_basket_most_open_coupons_cover(tmp_path):
    found = visit(
        tmp_path,
        [coupon("k1"), coupon("k2"), coupon("k3")],
        [*covers("k1", "p1", "p2"), *covers("k2", "p2"), *covers("k3", "p3")],
        [line("u1", "p1"), line("u2", "p2"), line("u2", "p4"), line("u1", "p3", LAST - DAY)],
    )
    assert found.user_id == "u2"
    assert found.basket_timestamp == from_microseconds(LAST)
    assert found.in_cart == {"k1": ["Product 2"], "k2": ["Product 2"]}
    assert found.covered == 1


def test_cart_is_the_last_basket_at_prices_without_the_coupon(tmp_path):
    found = visit(
        tmp_path,
        [coupon("k1")],
        covers("k1", "p1"),
        [
            line("u1", "p1", quantity=2, amount=300, coupon_match_discount=101),
            line("u1", "p2", quantity=0),
            line("u1", "slip"),
            line("u1", "p3", LAST - DAY),
        ],
    )
    assert found.cart == ({"product_id": "p1", "quantity": 2.0, "unit_price": 2.005},)


@pytest.mark.parametrize(
    ("gone", "redemptions"),
    [
        (coupon("gone", valid_to=WATERMARK), []),
        (coupon("gone", valid_from=LAST + 1), []),
        (coupon("gone", campaign_id="b"), []),
        (
            coupon("gone"),
            [row(LAST - DAY, redemption_id="r", user_id="u1", coupon_id="gone")],
        ),
    ],
    ids=["ended", "not yet valid", "of another campaign", "redeemed"],
)
def test_coupon_that_the_household_may_not_see_does_not_count(tmp_path, gone, redemptions):
    scopes = [*covers("gone", "p1"), *covers("k1", "p1")]
    lines = [line("u1", "p1")]
    found = visit(tmp_path / "both", [coupon("k1"), gone], scopes, lines, redemptions)
    assert set(found.in_cart) == {"k1"}
    with pytest.raises(NoVisit, match="Expected a household"):
        visit(tmp_path / "one", [gone], covers("gone", "p1"), lines, redemptions)
