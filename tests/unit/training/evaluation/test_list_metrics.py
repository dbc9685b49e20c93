"""Novelty and diversity of lists against slow implementations of their definitions."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.data.purchase_matrix import PurchaseMatrix
from training.evaluation.group_metrics import ranked
from training.evaluation.list_metrics import catalog_of, diversity, list_metrics, novelty

SCOPES = {"c0": {0, 1}, "c1": {0, 1}, "c2": {1, 2, 3}, "c3": {4}, "c4": set()}
USERS = 20


def catalog():
    scope = np.array([[float(p in covered) for p in range(5)] for covered in SCOPES.values()])
    rows = {one: row for row, one in enumerate(SCOPES)}
    return catalog_of(PurchaseMatrix({}, rows, None, None, csr_array(scope), []), USERS)


def similarity(one: str, other: str) -> float:
    first, second = SCOPES.get(one, set()), SCOPES.get(other, set())
    whole = math.sqrt(len(first) * len(second))
    return len(first & second) / whole if whole else 0.0


lists = st.lists(st.lists(st.sampled_from([*SCOPES, "new"]), min_size=1, max_size=6, unique=True))


@settings(deadline=None)
@given(lists.filter(bool), st.integers(1, 4))
def test_novelty_and_diversity_agree_with_their_definitions(groups, k):
    rows = [
        (f"q{n}", one, -rank) for n, group in enumerate(groups) for rank, one in enumerate(group)
    ]
    qid, coupon, score = (list(column) for column in zip(*rows, strict=True))
    buyers = np.array([int(one[1:]) * 3 if one != "new" else 0 for one in coupon])
    ranking = ranked(np.array(qid, object), coupon, np.zeros(len(rows)), np.array(score))
    found = diversity(ranking, coupon, catalog(), k)
    novelties = novelty(ranking, buyers, USERS, k)
    by_name = dict(zip(coupon, buyers.tolist(), strict=True))
    for number, group in enumerate(groups):
        pairs = list(combinations(group[:k], 2))
        if pairs:
            expected = 1 - sum(similarity(*pair) for pair in pairs) / len(pairs)
            assert found[number] == pytest.approx(expected)
        else:
            assert np.isnan(found[number])
        bits = [-math.log2((1 + by_name[one]) / (1 + USERS)) for one in group[:k]]
        assert novelties[number] == pytest.approx(sum(bits) / len(bits))


def test_names_have_the_cutoff_and_a_list_of_one_has_no_diversity():
    ranking = ranked(np.array(["q", "q"], object), ["c0", "c3"], np.zeros(2), np.array([2.0, 1.0]))
    found = list_metrics(ranking, ["c0", "c3"], np.array([20, 20]), catalog(), (1, 2))
    assert found == {"novelty@1": 0.0, "novelty@2": 0.0, "diversity@2": 1.0}
