"""Textbook recommenders against slow implementations of their definitions."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from training.data.purchase_matrix import PurchaseMatrix
from training.models import collaborative

USERS, PRODUCTS, COUPONS = 7, 11, 4


def known(seed: int = 0) -> PurchaseMatrix:
    rng = np.random.default_rng(seed)
    count = rng.poisson(0.8, (USERS, PRODUCTS)).astype(float)
    scope = (rng.random((COUPONS, PRODUCTS)) < 0.4).astype(float)
    scope[0] = 0
    return PurchaseMatrix(
        {f"u{n}": n for n in range(USERS)},
        {f"c{n}": n for n in range(COUPONS)},
        csr_array(count),
        csr_array(count / 2),
        csr_array(scope),
        [f"word{n % 3} brand{n % 2}" for n in range(PRODUCTS)],
    )


KNOWN = known()
COUNT = np.log1p(KNOWN.count.toarray())
SCOPE = KNOWN.scope.toarray()


def similarity(one: np.ndarray, other: np.ndarray, kind: str) -> float:
    if kind == "pearson":
        one, other = one - one.mean(), other - other.mean()
    whole = np.linalg.norm(one) * np.linalg.norm(other)
    return one @ other / whole if whole > 1e-9 else 0.0


@pytest.mark.parametrize("kind", ["cosine", "pearson"])
def test_user_based_is_the_weighted_mean_of_similar_users(kind):
    found = collaborative.user_based(KNOWN, kind)
    for user in range(USERS):
        others = [other for other in range(USERS) if other != user]
        weights = {o: max(similarity(COUNT[user], COUNT[o], kind), 0.0) for o in others}
        for coupon in range(COUPONS):
            total = sum(weights[o] * (COUNT[o] @ SCOPE[coupon]) for o in others)
            assert found[user, coupon] == pytest.approx(total / sum(weights.values()))


def test_only_the_most_similar_users_count():
    found = collaborative.user_based(KNOWN, nearest=1)
    weights = [-1 if o == 2 else similarity(COUNT[2], COUNT[o], "cosine") for o in range(USERS)]
    nearest = int(np.argmax(weights))
    assert found[2] == pytest.approx(SCOPE @ COUNT[nearest])


@pytest.mark.parametrize("kind", ["cosine", "pearson"])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_item_based_is_the_similarity_to_bought_products(kind, block):
    found = collaborative.item_based(KNOWN, kind, block)
    for user in range(USERS):
        for coupon in range(COUPONS):
            bundle = COUNT @ SCOPE[coupon]
            weights = [max(similarity(bundle, COUNT[:, p], kind), 0.0) for p in range(PRODUCTS)]
            assert found[user, coupon] == pytest.approx(COUNT[user] @ weights)


def test_decayed_purchases_count_only_covered_products():
    assert collaborative.decayed_purchases(KNOWN) == pytest.approx(
        KNOWN.decayed.toarray() @ SCOPE.T
    )


def test_factorization_is_the_best_low_rank_approximation():
    left, sizes, right = np.linalg.svd(COUNT, full_matrices=False)
    nearest = (left[:, :2] * sizes[:2]) @ right[:2]
    covered = np.maximum(SCOPE.sum(axis=1), 1)
    found = collaborative.matrix_factorization(KNOWN, seed=1, factors=2)
    assert found == pytest.approx(nearest @ SCOPE.T / covered, abs=1e-6)


def test_content_prefers_the_bundle_with_the_same_words():
    words = ["apple", "apple", "soap", "soap"]
    bought, scope = csr_array([[3.0, 0, 0, 0]]), csr_array([[0, 1.0, 0, 0], [0, 0, 1.0, 1.0]])
    found = collaborative.content(
        PurchaseMatrix({"u": 0}, {"a": 0, "s": 1}, bought, bought, scope, words)
    )
    assert found == pytest.approx(np.array([[1.0, 0.0]]))


def test_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match="cosine or pearson, got 'jaccard'"):
        collaborative.user_based(KNOWN, "jaccard")


def test_unknown_user_or_coupon_scores_zero():
    scores = np.arange(USERS * COUPONS, dtype=float).reshape(USERS, COUPONS) + 1
    found = KNOWN.pair_scores(["u1", "new", "u6"], ["c2", "c2", "new"], scores)
    assert found.tolist() == [scores[1, 2], 0.0, 0.0]


def test_scores_do_not_depend_on_the_other_coupons():
    some = KNOWN.for_coupons(["c3", "unknown", "c1", "c3"])
    assert list(some.coupons) == ["c3", "c1"]
    assert collaborative.user_based(some) == pytest.approx(
        collaborative.user_based(KNOWN)[:, [3, 1]]
    )
