"""The names of the products that coupons cover."""

import pytest

from feature_repo.lake.coupon_scopes import covered_products
from feature_repo.lake.reader import Lake
from tests.support.landing_batches import day, land, purchase, rows

COUPON = {"coupon_code": "x", "campaign_id": "k", "audience": "open"}
VALIDITY = {"valid_from": day(1), "valid_to": day(30)}


def bought(event_id: str, user_id: str, product_id: str, number: int = 0) -> dict:
    return purchase(event_id, number) | {"user_id": user_id, "product_id": product_id}


BATCH = {
    "products": rows(
        "products",
        {"product_id": "p1", "name": "Milk"},
        {"product_id": "p2", "name": "Bread"},
        {"product_id": "p3", "name": "Milk"},
        {"product_id": "p4"},
        {"product_id": "p5", "name": "Salt"},
    ),
    "coupons": rows("coupons", *({"coupon_id": c} | COUPON | VALIDITY for c in ("c1", "c2", "c3"))),
    "coupon_products": rows(
        "coupon_products",
        *({"coupon_id": "c1", "product_id": f"p{i}"} for i in (1, 2, 3, 4)),
        {"coupon_id": "c2", "product_id": "p5"},
    ),
    "events": rows(
        "events",
        bought("e1", "o'neil", "p1"),
        bought("e2", "o'neil", "p3"),
        bought("e3", "o'neil", "p2"),
        bought("e4", "u2", "p5"),
        bought("e5", "o'neil", "p4", number=5),
        bought("e6", "o'neil", "p5") | {"event_type": "view"},
    ),
}


@pytest.fixture(scope="module")
def covered(tmp_path_factory):
    """Reads the products covered by the coupons c1 to c3, for a user, as of day 5 by default."""
    lake = Lake(tmp_path_factory.mktemp("$user_id") / "home")
    state, _ = land(lake, BATCH)

    def read(user_id: str, most: int = 9, as_of: int = 5):
        coupons = ["c1", "c2", "c3"]
        return covered_products(lake, state, user_id, coupons, day(as_of), most)

    return read


def test_products_of_one_name_are_counted_once_and_a_nameless_one_has_its_id(covered):
    found = covered("u2")["c1"]
    assert found.products == 3
    assert sorted(found.names) == ["Bread", "Milk", "p4"]


def test_own_purchases_come_first_by_their_number(covered):
    assert covered("o'neil")["c1"].own == ["Milk x2", "Bread x1"]
    assert covered("o'neil", most=1)["c1"].own == ["Milk x2"]


def test_purchase_at_the_instant_itself_is_not_counted_and_one_before_it_is(covered):
    assert covered("o'neil", as_of=6)["c1"].own == ["Milk x2", "Bread x1", "p4 x1"]


def test_only_purchases_of_the_user_are_own_ones(covered):
    assert covered("o'neil")["c2"] == (1, ["Salt"], [])
    assert covered("u2")["c2"] == (1, ["Salt"], ["Salt x1"])


def test_at_most_the_requested_number_of_names_is_listed(covered):
    assert len(covered("u2", most=2)["c1"].names) == 2


def test_coupon_without_products_is_left_out(covered):
    assert sorted(covered("u2")) == ["c1", "c2"]
