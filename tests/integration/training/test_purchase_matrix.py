"""Purchases and scopes as known before an instant, from a real lake."""

import pytest

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from tests.support.landing_batches import day, land, purchase, rows, user
from training.data.purchase_matrix import purchases_before
from training.models.collaborative import decayed_purchases


def us(number: int) -> int:
    """The start of a numbered day, in microseconds."""
    return microseconds(day(number))


@pytest.fixture
def lake(tmp_path):
    lake = Lake(tmp_path)
    goods = [{"product_id": p, "name": "Oat milk", "brand": "Alpha"} for p in ("p1", "p2")]
    pairs = [{"coupon_id": "c1", "product_id": "p1"}, {"coupon_id": "c1", "product_id": "p2"}]
    correction = purchase("e2", 10) | {"event_type": "view", "created_timestamp": day(30)}
    land(
        lake,
        {
            "users": rows("users", user("u1")),
            "products": rows("products", *goods),
            "coupon_products": rows("coupon_products", *pairs),
            "events": rows(
                "events", purchase("e1", 0), purchase("e2", 10), purchase("e3", 20), correction
            ),
        },
    )
    return lake


@pytest.mark.parametrize(("number", "count"), [(1, 1), (10, 1), (11, 2), (21, 3), (31, 2)])
def test_only_purchases_known_before_the_instant_count(lake, number, count):
    known = purchases_before(lake, lake.state(), us(number))
    assert known.count.toarray().tolist() == [[count, 0]]
    assert (known.users, known.coupons) == ({"u1": 0}, {"c1": 0})
    assert known.scope.toarray().tolist() == [[1, 1]]
    assert known.text == ["Oat milk Alpha"] * 2


def test_every_pair_scores_zero_before_the_first_purchase(lake):
    known = purchases_before(lake, lake.state(), us(0)).for_coupons(["c1"])
    assert known.pair_scores(["u1"], ["c1"], decayed_purchases(known)).tolist() == [0.0]


def test_purchase_has_half_its_weight_after_ninety_days(lake):
    known = purchases_before(lake, lake.state(), us(90))
    assert known.decayed.toarray()[0, 0] == pytest.approx(0.5 + 0.5 ** (70 / 90))


def test_later_coupons_can_be_included_without_later_purchases(lake):
    late = [{"coupon_id": "c2", "product_id": "p1"} | {"event_timestamp": day(15)}]
    land(lake, {"coupon_products": rows("coupon_products", *late)})
    state = lake.state()
    assert purchases_before(lake, state, us(11)).coupons == {"c1": 0}
    known = purchases_before(lake, state, us(11), us(21))
    assert known.coupons == {"c1": 0, "c2": 1}
    assert known.count.toarray().tolist() == [[2, 0]]
