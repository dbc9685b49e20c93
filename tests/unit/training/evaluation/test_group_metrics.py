"""Metrics against slow implementations of their definitions, and at their corner cases."""

import math
import random
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.tie_break import tie_break
from serving.policy.order import rank
from training.evaluation import group_metrics

CUTOFFS = (1, 3, 10)


def _hash(coupon: str) -> int:
    return int.from_bytes(blake2b(coupon.encode(), digest_size=8).digest(), "little")


@st.composite
def _groups(draw):
    """Draws groups of (coupon, label, score); there are few scores, so that many are equal."""
    pair = st.tuples(st.integers(0, 1), st.sampled_from([-1.5, 0.0, 0.25, 7.0]))
    sizes = draw(st.lists(st.integers(1, 14), min_size=1, max_size=5))
    return [
        [(f"c{place}", *draw(pair)) for place in draw(st.permutations(range(size)))]
        for size in sizes
    ]


def _arrays(groups):
    rows = [(f"q{number}", *pair) for number, group in enumerate(groups) for pair in group]
    qid, coupon, label, score = (list(column) for column in zip(*rows, strict=True))
    return (
        np.array(qid, object),
        np.array(coupon, object),
        np.array(label, np.int8),
        np.array(score, np.float32),
    )


def _slow(group, k):
    """Computes every metric of one group by definition; None without an order."""
    ordered = sorted(group, key=lambda pair: (-pair[2], -_hash(pair[0])))
    gains = [label for _, label, _ in ordered]
    positives = sum(gains)
    if positives in (0, len(gains)):
        return None
    first = gains[:k]
    hits = sum(first)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, positives) + 1))
    precision, recall = hits / k, hits / positives
    found = [sum(first[:rank]) / rank for rank in range(1, len(first) + 1) if first[rank - 1]]
    return {
        "ndcg": sum(g / math.log2(rank + 1) for rank, g in enumerate(first, 1)) / best,
        "map": sum(found) / min(k, positives),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "hit_rate": float(hits > 0),
        "mrr": 1 / (gains.index(1) + 1),
    }


@given(_groups())
def test_every_metric_agrees_with_its_definition(groups):
    qid, coupon, label, score = _arrays(groups)
    table = group_metrics.all_metrics(
        group_metrics.ranked(qid, coupon, label, score), coupon, CUTOFFS
    )
    for k in CUTOFFS:
        slow = [values for values in (_slow(group, k) for group in groups) if values]
        for name in ("ndcg", "map", "precision", "recall", "f1", "hit_rate", "mrr"):
            expected = np.mean([values[name] for values in slow]) if slow else math.nan
            key = name if name == "mrr" else f"{name}@{k}"
            assert table[key] == pytest.approx(expected, nan_ok=True, abs=1e-12), key


@given(_groups(), st.integers(0, 2**32))
def test_order_of_rows_within_a_group_changes_no_metric(groups, seed):
    rng = random.Random(seed)
    shuffled = [rng.sample(group, len(group)) for group in groups]
    tables = []
    for each in (groups, shuffled):
        qid, coupon, label, score = _arrays(each)
        tables.append(
            group_metrics.all_metrics(group_metrics.ranked(qid, coupon, label, score), coupon)
        )
    assert tables[0] == pytest.approx(tables[1], nan_ok=True)


@given(_groups())
def test_training_orders_equal_scores_as_serving_does(groups):
    qid, coupon, label, score = _arrays(groups)
    ranking = group_metrics.ranked(qid, coupon, label, score)
    for name in dict.fromkeys(qid):
        rows = np.flatnonzero(qid == name)
        ours = ranking.order[np.isin(ranking.order, rows)]
        served = rows[rank(score[rows], list(coupon[rows]), len(rows))]
        assert list(coupon[ours]) == list(coupon[served])


def test_tie_break_is_the_documented_hash():
    ids = ["18:1", "26:2", "18:1"]
    assert tie_break(ids).tolist() == [_hash(key) for key in ids]
    assert tie_break([]).dtype == np.uint64


def _ranking(labels, scores=None):
    labels = np.array(labels)
    coupons = np.array([f"c{place}" for place in range(len(labels))], object)
    scores = np.arange(len(labels))[::-1] if scores is None else np.array(scores)
    return group_metrics.ranked(np.full(len(labels), "q", object), coupons, labels, scores)


def test_perfect_ranking_of_more_redeemed_coupons_than_k_has_ndcg_and_map_one():
    ranking = _ranking([1, 1, 1, 0])
    assert group_metrics.ndcg(ranking, 2) == pytest.approx([1.0])
    assert group_metrics.average_precision(ranking, 2) == pytest.approx([1.0])


def test_reciprocal_rank_uses_the_whole_list():
    assert group_metrics.reciprocal_rank(_ranking([0] * 49 + [1])) == pytest.approx([1 / 50])


def test_precision_of_a_short_group_still_divides_by_k():
    assert group_metrics.precision(_ranking([1, 0]), 10) == pytest.approx([0.1])


def test_group_without_a_redeemed_coupon_has_no_value_and_is_not_in_the_mean():
    qid = np.array(["a", "a", "b", "b"], object)
    coupons = np.array(["x", "y", "x", "y"], object)
    ranking = group_metrics.ranked(
        qid, coupons, np.array([0, 0, 1, 0]), np.array([1.0, 2.0, 2.0, 1.0])
    )
    assert np.isnan(group_metrics.ndcg(ranking, 1)).tolist() == [True, False]
    assert group_metrics.mean(group_metrics.ndcg(ranking, 1)) == 1.0


def test_mean_is_nan_if_no_group_has_a_redeemed_coupon():
    assert math.isnan(group_metrics.mean(group_metrics.recall(_ranking([0, 0]), 1)))


def test_coverage_counts_groups_without_a_redeemed_coupon():
    qid = np.array(["a", "a", "b", "b"], object)
    coupons = np.array(["x", "y", "x", "z"], object)
    ranking = group_metrics.ranked(qid, coupons, np.zeros(4), np.array([2.0, 1.0, 1.0, 2.0]))
    assert group_metrics.coverage(ranking, coupons, 1) == pytest.approx(2 / 3)


def test_nan_score_is_refused():
    with pytest.raises(ValueError, match="got 1 that are not numbers"):
        _ranking([1, 0], [np.nan, 1.0])


def test_table_has_every_metric_at_every_cutoff():
    ranking = _ranking([1, 0])
    table = group_metrics.all_metrics(ranking, np.array(["c0", "c1"], object))
    names = ("ndcg", "map", "precision", "recall", "f1", "hit_rate")
    at_cutoffs = [f"{name}@{k}" for name in names for k in (1, 3, 5, 10, 20)]
    assert list(table) == [*at_cutoffs, "mrr", *(f"coverage@{k}" for k in (1, 3, 5, 10, 20))]
