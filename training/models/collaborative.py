"""Textbook recommenders that score users and coupons from the purchases of all users.

Each takes a ``PurchaseMatrix`` and returns a dense array (users x coupons); higher is better. A
coupon is the bundle of products that it covers. Purchase counts are used as log(1 + count), so that
a product bought every week does not outweigh all others.
"""

from typing import TYPE_CHECKING

import numpy as np

from training.data.purchase_matrix import PurchaseMatrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NEIGHBORS = 100
FACTORS = 64
BLOCK = 64
"""Number of coupons compared with all products at once; limits the memory in use."""


def decayed_purchases(purchases: PurchaseMatrix) -> np.ndarray:
    """Sums the user's purchases of the covered products, with a half-life of 90 days."""
    return (purchases.decayed @ purchases.scope.T).toarray()


def user_based(
    purchases: PurchaseMatrix, similarity: str = "cosine", nearest: int = NEIGHBORS
) -> np.ndarray:
    """Averages the ``nearest`` users' purchases of the covered products, weighted by similarity.

    ``similarity`` is ``cosine`` or ``pearson``, over all products. Raises ValueError for others.
    """
    bought = _log_counts(purchases.count)
    weights = _similarities(bought, bought, similarity)
    np.fill_diagonal(weights, 0.0)
    weights = np.maximum(weights, 0.0)
    if weights.shape[1] > nearest:
        least = np.partition(weights, -nearest, axis=1)[:, -nearest]
        weights[weights < least[:, None]] = 0.0
    of_bundles = (bought @ purchases.scope.T).toarray()
    return weights @ of_bundles / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


def item_based(
    purchases: PurchaseMatrix, similarity: str = "cosine", block: int = BLOCK
) -> np.ndarray:
    """Sums the similarity of the bundle to each product that the user bought.

    ``similarity`` is ``cosine`` or ``pearson`` of the purchases by all users. Raises ValueError for
    others.
    """
    from scipy.sparse import csr_array

    bought = _log_counts(purchases.count)
    products, bundles = csr_array(bought.T), csr_array((bought @ purchases.scope.T).T)
    scores = np.empty((bought.shape[0], bundles.shape[0]))
    for start in range(0, bundles.shape[0], block):
        here = slice(start, start + block)
        similarities = _similarities(bundles[here], products, similarity)
        scores[:, here] = bought @ np.maximum(similarities, 0.0).T
    return scores


def matrix_factorization(
    purchases: PurchaseMatrix, seed: int, factors: int = FACTORS
) -> np.ndarray:
    """Scores by a truncated SVD of users x products; a bundle has its products' mean factors."""
    from sklearn.decomposition import TruncatedSVD

    bought = _log_counts(purchases.count)
    model = TruncatedSVD(min(factors, *(side - 1 for side in bought.shape)), random_state=seed)
    users = model.fit_transform(bought)
    return users @ (_row_means(purchases.scope) @ model.components_.T).T


def content(purchases: PurchaseMatrix) -> np.ndarray:
    """Scores by the TF-IDF cosine between the words of bought and of covered products."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True).fit_transform(purchases.text)
    users = normalize(_log_counts(purchases.count) @ words)
    return (users @ normalize(purchases.scope @ words).T).toarray()


def _log_counts(count: "csr_array") -> "csr_array":
    return count.log1p()


def _row_means(scope: "csr_array") -> "csr_array":
    from sklearn.preprocessing import normalize

    return normalize(scope, norm="l1")


def _similarities(rows: "csr_array", others: "csr_array", similarity: str) -> np.ndarray:
    """Returns the cosine or Pearson correlation of each row with each of the others, dense.

    Pearson is the cosine after subtracting each row's mean over all columns, zeros included.
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
