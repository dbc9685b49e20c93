"""The contract of recommendations: valid and refused requests."""

import pytest
from pydantic import ValidationError

from serving.schemas.recommendation import CartItem, ModelName, RecommendationRequest

PLAIN = {"user_id": "900", "placement": "home"}


def refused(**changes) -> str:
    with pytest.raises(ValidationError) as caught:
        RecommendationRequest.model_validate(PLAIN | changes)
    return str(caught.value)


def line(**changes) -> dict:
    return {"product_id": "1", "quantity": 1, "unit_price": 0.5} | changes


def test_request_with_every_usual_field_is_accepted():
    request = RecommendationRequest.model_validate(
        PLAIN | {"k": 10, "cart": [line(product_id="1095275")], "explain": False}
    )
    assert request.cart[0].unit_price == 0.5


def test_shortest_request_asks_for_ten_coupons_with_an_empty_cart():
    request = RecommendationRequest.model_validate(PLAIN)
    assert (request.k, request.cart, request.explain, request.as_of) == (10, (), False, None)


@pytest.mark.parametrize("k", [0, 101, -1, 2.5, "10", True, None, 10**400])
def test_k_is_a_whole_number_from_one_to_a_hundred(k):
    assert "k" in refused(k=k)


@pytest.mark.parametrize("k", [1, 100])
def test_bounds_of_k_are_included(k):
    assert RecommendationRequest.model_validate(PLAIN | {"k": k}).k == k


@pytest.mark.parametrize("placement", ["home", "cart", "checkout", "member", "campaign"])
def test_every_placement_is_accepted(placement):
    request = RecommendationRequest.model_validate(PLAIN | {"placement": placement})
    assert request.placement == placement


@pytest.mark.parametrize("placement", ["Home", "", None, 1])
def test_other_placement_is_refused(placement):
    assert "placement" in refused(placement=placement)


@pytest.mark.parametrize("user_id", [900, "", None, "x" * 257, "\ud800"])
def test_user_id_is_text_of_a_sane_length(user_id):
    assert "user_id" in refused(user_id=user_id)


def test_unknown_field_is_refused():
    assert "Extra inputs" in refused(limit=3)
    assert "Extra inputs" in refused(cart=[line(price=3)])


@pytest.mark.parametrize("quantity", [float("nan"), float("inf"), "1", 1e300])
def test_quantity_is_a_finite_number(quantity):
    assert "quantity" in refused(cart=[line(quantity=quantity)])


@pytest.mark.parametrize("price", [float("nan"), float("inf"), "1", 1e300])
def test_unit_price_is_a_finite_number(price):
    assert "unit_price" in refused(cart=[line(unit_price=price)])


def test_cart_of_too_many_lines_is_refused():
    assert "cart" in refused(cart=[line()] * 501)


@pytest.mark.parametrize(
    ("price", "cents"), [(0.5, 50), (0.29, 29), (1.005, 100.5), (19.99, 1999), (0.0349, 3.49)]
)
def test_unit_price_in_cents_is_the_decimal_that_was_sent(price, cents):
    assert CartItem(product_id="1", quantity=2, unit_price=price).priced().unit_price == cents


@pytest.mark.parametrize(
    "as_of", ["2017-12-31T00:00:00", 1514678400, "0001-01-01T00:00:00+14:00", "soon"]
)
def test_as_of_is_text_that_names_its_zone(as_of):
    assert "as_of" in refused(as_of=as_of)


def test_as_of_in_another_zone_is_the_same_instant():
    request = RecommendationRequest.model_validate(PLAIN | {"as_of": "2017-12-31T00:00:00-05:00"})
    assert request.as_of.isoformat() == "2017-12-31T05:00:00+00:00"


def test_unchecked_model_equals_a_checked_one():
    values = {"name": "home_ranker", "version": "3"}
    unchecked, checked = ModelName.construct_unchecked(values), ModelName(**values)
    assert unchecked == checked and unchecked.model_dump_json() == checked.model_dump_json()
    assert unchecked.model_copy(update={"version": "4"}) == ModelName(
        name="home_ranker", version="4"
    )
