import pytest

from tests.support.validation_batches import arrow
from validation.hints import zero_limits


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("coupons", "per_user_limit"),
        ("coupon_terms", "total_limit"),
        ("coupon_terms", "max_discount"),
    ],
)
def test_limit_of_0_is_named_with_its_coupon(table, column):
    rows = [{"coupon_id": one, column: limit} for one, limit in (("a", 1), ("b", 0), ("c", None))]
    (hint,) = zero_limits({table: arrow(table, rows)})
    assert hint.startswith(f"{table}: {column} is 0 in 1 row (b), which allows nothing")


def test_limits_above_0_and_other_tables_need_no_hint():
    rows = [{"coupon_id": "a", "per_user_limit": 1}, {"coupon_id": "b"}]
    stock = [{"product_id": "p", "stock": 0}]
    passed = {"coupons": arrow("coupons", rows), "product_terms": arrow("product_terms", stock)}
    assert list(zero_limits(passed)) == []
