import numpy as np
import pytest

from feature_repo.transforms.request.cart import CartLine
from serving.candidates.cart import cart_of
from serving.candidates.discounts import Coverage, coverage
from serving.rules.margin import is_below_margin
from tests.support.serving_fakes import coupon, index_of

FIRST = np.array([0])


def covered(kind: str, value: int, products: tuple[str, ...], *lines) -> Coverage:
    """The coverage of a cart by one coupon."""
    index = index_of(coupon("a", "1", products, discount_type=kind, discount_value=value))
    return coverage(index.terms.discounts, cart_of([CartLine(*line) for line in lines]))


@pytest.mark.parametrize(
    ("least", "unit_cost", "is_below"),
    # 1,000 less 20 percent is 800 paid; 2 units cost.
    [(0, 400, False), (0, 401, True), (50, 200, False), (51, 200, True), (100, 0, False)],
)
def test_margin_is_the_paid_amount_less_unit_costs(least, unit_cost, is_below):
    cover = covered("percent", 20, ("p1",), ("p1", 2, 500))
    found = is_below_margin(FIRST, cover, {"p1": unit_cost}, np.array([least]))
    assert found.tolist() == [is_below]


def test_margin_of_a_covered_line_with_an_unknown_cost_is_not_kept():
    products, zero = ("p1", "p2"), np.array([0])
    lines = (("p1", 2, 500), ("p2", 1, 1_000))
    cover = covered("amount_off", 1, products, *lines)
    assert is_below_margin(FIRST, cover, {"p1": 0}, zero).all()
    assert is_below_margin(FIRST, cover, {}, zero).all()
    assert not is_below_margin(
        FIRST, covered("amount_off", 1, ("p1",), *lines), {"p1": 0}, zero
    ).any()


def test_margin_is_not_checked_without_a_covered_line():
    cover = covered("amount_off", 1_000, ("p1", "p2"), ("p3", 1, 500))
    assert not is_below_margin(FIRST, cover, {"p3": 10**6}, np.array([0])).any()


def test_deduction_without_a_cost_lowers_the_margin_of_the_whole_cart():
    index = index_of(coupon("a", "1", discount_type="percent", discount_value=0))
    lines = [CartLine("p1", 1, 1_000)]
    for deductions, least, is_below in (([], 20, False), ([CartLine("bag", 1, -100)], 20, True)):
        cover = coverage(index.terms.discounts, cart_of(lines, deductions))
        found = is_below_margin(FIRST, cover, {"p1": 800}, np.array([least]))
        assert found.tolist() == [is_below]
