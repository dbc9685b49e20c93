"""Groups without an order: they are counted by reason and have no value in a ranking metric."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import group_metrics
from training.evaluation.orders import (
    WithoutOrder,
    groups_with_order,
    rows_with_order,
    without_order,
)

visits = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=8)


def _flat(groups):
    qid = np.array([f"q{n}" for n, group in enumerate(groups) for _ in group], object)
    return qid, np.array([label for group in groups for label in group], np.int8)


def _reason(group):
    if len(group) == 1:
        return "one_candidate"
    return {0: "none_redeemed", len(group): "all_redeemed"}.get(sum(group))


@settings(deadline=None)
@given(visits)
def test_every_group_is_counted_once_by_its_reason(groups):
    qid, label = _flat(groups)
    reasons = [_reason(group) for group in groups]
    found = without_order(qid, label)
    for name in ("one_candidate", "none_redeemed", "all_redeemed"):
        assert getattr(found, name) == reasons.count(name)
    assert (found.groups, found.with_order) == (len(groups), reasons.count(None))
    ordered = [reason is None for reason in reasons]
    assert groups_with_order(qid, label).tolist() == ordered
    by_row = [one for group, one in zip(groups, ordered, strict=True) for _ in group]
    assert rows_with_order(qid, label).tolist() == by_row


@settings(deadline=None)
@given(visits)
def test_only_groups_with_an_order_have_a_value(groups):
    qid, label = _flat(groups)
    coupons = np.array([f"c{row}" for row in range(len(qid))], object)
    ranking = group_metrics.ranked(qid, coupons, label, np.arange(len(qid)))
    expected = groups_with_order(qid, label)
    metrics = (
        group_metrics.ndcg,
        group_metrics.average_precision,
        group_metrics.precision,
        group_metrics.recall,
        group_metrics.f1,
        group_metrics.hit_rate,
    )
    for metric in metrics:
        assert (~np.isnan(metric(ranking, 2)) == expected).all(), metric.__name__
    assert (~np.isnan(group_metrics.reciprocal_rank(ranking)) == expected).all()


def test_visit_with_all_coupons_redeemed_does_not_raise_the_mean():
    qid = np.array(["all", "all", "some", "some"], object)
    ranking = group_metrics.ranked(qid, list("abcd"), [1, 1, 1, 0], [2.0, 1.0, 1.0, 2.0])
    assert group_metrics.mean(group_metrics.hit_rate(ranking, 1)) == 0.0


def test_no_groups_are_counted_as_none():
    assert without_order(np.empty(0, object), np.empty(0)) == WithoutOrder()


def test_group_of_one_redeemed_coupon_counts_as_one_candidate():
    found = without_order(np.array(["a", "b"], object), np.array([1, 0]))
    assert found == WithoutOrder(groups=2, one_candidate=2)
