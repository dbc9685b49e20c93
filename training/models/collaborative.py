"""Recommenders of the textbook, each a score a user and coupon from what everybody bought.

Each takes a ``PurchaseMatrix`` and gives a dense array (users x coupons); higher is better. A
coupon is the bundle of the products that it covers. Counts enter as log(1 + count), so that the
staple that one household buys weekly does not outweigh all else.
"""

from typing import TYPE_CHECKING

import numpy as np

from training.data.purchase_matrix import PurchaseMatrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NEIGHBORS = 100
FACTORS = 64
BLOCK = 64
"""So many coupons are compared with all products at once, to save memory."""


def decayed_purchases(known: PurchaseMatrix) -> np.ndarray:
    """Own purchases of the covered products, each worth half after 90 days."""
    return (known.decayed @ known.scope.T).toarray()


def user_based(
    known: PurchaseMatrix, similarity: str = "cosine", nearest: int = NEIGHBORS
) -> np.ndarray:
    """What the ``nearest`` users bought of the covered products, weighted by their similarity.

    ``similarity`` is ``cosine`` or ``pearson``, over all products.
    """
    alike = _similarities(_damped(known.count), _damped(known.count), similarity)
    np.fill_diagonal(alike, 0.0)
    alike = np.maximum(alike, 0.0)
    if alike.shape[1] > nearest:
        least = np.partition(alike, -nearest, axis=1)[:, -nearest]
        alike[alike < least[:, None]] = 0.0
    taste = (_damped(known.count) @ known.scope.T).toarray()
    return alike @ taste / np.maximum(alike.sum(axis=1, keepdims=True), 1e-12)


def item_based(known: PurchaseMatrix, similarity: str = "cosine", block: int = BLOCK) -> np.ndarray:
    """How similar the bundle is to the products that the user bought, by who buys them.

    ``similarity`` is ``cosine`` or ``pearson``, over all users.
    """
    from scipy.sparse import csr_array

    bought = _damped(known.count)
    products, bundles = csr_array(bought.T), csr_array((bought @ known.scope.T).T)
    scores = np.empty((bought.shape[0], bundles.shape[0]))
    for start in range(0, bundles.shape[0], block):
        here = slice(start, start + block)
        alike = _similarities(bundles[here], products, similarity)
        scores[:, here] = bought @ np.maximum(alike, 0.0).T
    return scores


def matrix_factorization(known: PurchaseMatrix, seed: int, factors: int = FACTORS) -> np.ndarray:
    """Truncated SVD of users x products; a bundle is the mean of its products' factors."""
    from sklearn.decomposition import TruncatedSVD

    bought = _damped(known.count)
    model = TruncatedSVD(min(factors, *(side - 1 for side in bought.shape)), random_state=seed)
    users = model.fit_transform(bought)
    return users @ (_mean(known.scope) @ model.components_.T).T


def content(known: PurchaseMatrix) -> np.ndarray:
    """Cosine of the words of what the user bought and of what the coupon covers, by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True).fit_transform(known.text)
    users = normalize(_damped(known.count) @ words)
    return (users @ normalize(known.scope @ words).T).toarray()


def _damped(count: "csr_array") -> "csr_array":
    return count.log1p()


def _mean(scope: "csr_array") -> "csr_array":
    from sklearn.preprocessing import normalize

    return normalize(scope, norm="l1")


def _similarities(rows: "csr_array", others: "csr_array", similarity: str) -> np.ndarray:
    """Cosine or Pearson correlation of every row with every row of the other, dense.

    Pearson is the cosine after each row's mean over all columns is taken away, zeros included.
    """
    if similarity not in ("cosine", "pearson"):
        raise ValueError(f"Expected the similarity cosine or pearson, got {similarity!r}.")
    width = rows.shape[1]
    product = (rows @ others.T).toarray()
    sizes = [np.asarray(one.power(2).sum(axis=1)).ravel() for one in (rows, others)]
    if similarity == "pearson":
        sums = [np.asarray(one.sum(axis=1)).ravel() for one in (rows, others)]
        product -= np.outer(*sums) / width
        sizes = [size - total**2 / width for size, total in zip(sizes, sums, strict=True)]
    norms = [np.sqrt(np.maximum(size, 0.0)) for size in sizes]
    return product / np.maximum(np.outer(*norms), 1e-12)
