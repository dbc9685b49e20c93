"""Plans are in force at the instant they state: one lake and one load, read at several instants."""

import numpy as np
import pytest

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.publication.plans import read_plans
from serving.candidates.index import CandidateIndex
from serving.planned_index import planned_index
from tests.support.landing_batches import coupon, day, land, rows
from tests.support.serving_fakes import columns_of
from tests.support.serving_fakes import coupon as stored_coupon

NOON = 20
WATERMARK = day(15)
BEFORE, AT, AFTER = (microseconds(day(NOON)) + step for step in (-1, 0, 1))
PLANNED = {"event_timestamp": day(NOON), "created_timestamp": day(1)}


def indexes(tmp_path, online=(), **tables):
    """Lands a shop, and returns the function that builds an index as of an instant.

    ``online`` are the coupons in the online store.
    """
    lake = Lake(tmp_path)
    shop = {
        "products": rows("products", *({"product_id": one} for one in ("p1", "p2"))),
        "coupons": rows("coupons", coupon("c1") | {"per_user_limit": 2}),
        "coupon_products": rows("coupon_products", {"coupon_id": "c1", "product_id": "p1"}),
    }
    land(
        lake, shop | {name: rows(name, *some) for name, some in tables.items()}, None, (), WATERMARK
    )
    plans = read_plans(lake, lake.state())
    features = [
        stored_coupon(one, "k") if one in online else dict.fromkeys(stored_coupon("c", "k"))
        for one in plans.coupon_ids
    ]
    stored = columns_of(
        *(row | {"coupon_id": one} for row, one in zip(features, plans.coupon_ids, strict=True))
    )
    return planned_index(plans, stored, None)


def covered(index: CandidateIndex) -> set[str]:
    scope = index.terms.discounts.scope
    return {one for one, column in scope.index.items() if np.diff(scope.start)[column]}


def test_scope_is_in_force_at_its_instant_and_closed_before(tmp_path):
    later = {"coupon_id": "c1", "product_id": "p1"} | PLANNED
    build = indexes(tmp_path, coupon_products=[later])
    assert [build(t).terms.scope_unknown[0] for t in (BEFORE, AT, AFTER)] == [True, False, False]
    assert [covered(build(t)) for t in (BEFORE, AT)] == [set(), {"p1"}]
    assert [build(t).coupons.inputs.shape for t in (BEFORE, AT)] == [
        build(AFTER).coupons.inputs.shape
    ] * 2
    assert build(BEFORE).until == build(AT).since == AT


def test_scope_grows_at_the_instant_of_the_new_pair(tmp_path):
    pairs = [
        {"coupon_id": "c1", "product_id": "p1"},
        {"coupon_id": "c1", "product_id": "p2"} | PLANNED,
    ]
    build = indexes(tmp_path, coupon_products=pairs)
    assert [covered(build(t)) for t in (BEFORE, AT)] == [{"p1"}, {"p1", "p2"}]


def test_terms_are_in_force_at_their_instant_and_close_before(tmp_path):
    build = indexes(tmp_path, coupon_terms=[{"coupon_id": "c1", "total_limit": 1} | PLANNED])
    assert [build(t).terms.terms_unknown[0] for t in (BEFORE, AT)] == [True, False]
    assert build(AT).terms.total_limit.tolist() == [1]
    assert build(BEFORE).ever_limited == {"c1": "k"}


def test_later_terms_replace_the_earlier_ones_at_their_instant(tmp_path):
    versions = [
        {"coupon_id": "c1", "total_limit": 5},
        {"coupon_id": "c1", "total_limit": 1} | PLANNED,
    ]
    build = indexes(tmp_path, coupon_terms=versions)
    assert [build(t).terms.total_limit[0] for t in (BEFORE, AT, AFTER)] == [5, 1, 1]
    assert not build(BEFORE).terms.terms_unknown.any()


def test_terms_of_a_product_follow_the_clock(tmp_path):
    versions = [{"product_id": "p1", "stock": 5}, {"product_id": "p1", "stock": 0} | PLANNED]
    build = indexes(tmp_path, product_terms=versions)
    assert [build(t).terms.sold_out[0] for t in (BEFORE, AT)] == [False, True]


def test_product_whose_terms_are_all_in_the_future_is_out_of_stock_until_then(tmp_path):
    build = indexes(tmp_path, product_terms=[{"product_id": "p1", "stock": 5} | PLANNED])
    assert [build(t).terms.sold_out[0] for t in (BEFORE, AT)] == [True, False]


@pytest.mark.parametrize(
    ("column", "values"), [("discount_value", (10, 20)), ("per_user_limit", (2, 1))]
)
def test_new_version_of_a_coupon_counts_from_its_instant(tmp_path, column, values):
    first, second = (coupon("c1") | {"discount_type": "percent", column: one} for one in values)
    build = indexes(tmp_path, coupons=[first, second | PLANNED])
    terms = [build(t).terms for t in (BEFORE, AT)]
    found = [
        one.discounts.value[0] if column == "discount_value" else one.per_user_limit[0]
        for one in terms
    ]
    assert found == list(values)


def test_coupon_announced_for_later_is_a_candidate_from_its_instant(tmp_path):
    build = indexes(
        tmp_path, coupons=[coupon("c1"), coupon("c2") | {"covers_whole_cart": True} | PLANNED]
    )
    assert [build(t).coupon_id.tolist() for t in (BEFORE, AT)] == [["c1"], ["c1", "c2"]]
    # Its statistics are those of its announcement, not missing ones.
    assert np.isnan(build(AT).coupons.inputs).sum(axis=1).tolist() == [2, 2]


def test_store_is_checked_by_a_coupon_that_it_has(tmp_path):
    coupons = [coupon("a") | {"covers_whole_cart": True} | PLANNED, coupon("c1")]
    build = indexes(tmp_path, online=("c1",), coupons=coupons)
    assert build(AT).coupon_id.tolist() == ["a", "c1"] and build(AT).stored_coupon == "c1"
    assert indexes(tmp_path / "lost", coupons=coupons)(AT).stored_coupon == "a"
