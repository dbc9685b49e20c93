"""The inputs of rankers for one user's candidates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from feature_repo.transforms.request.cart import NO_ATTRIBUTES
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS, ranker_inputs
from serving.candidates.index import CandidateIndex
from serving.recommend.purchase_cache import PurchaseCache
from serving.schemas.recommendation import RecommendationRequest

NO_INPUTS = np.empty((0, len(RANKER_INPUTS)), dtype=np.float32)


class UserColumns(Mapping[str, Sequence[Any]]):
    """One user's features as columns of length one, decoded only when they are read."""

    def __init__(self, user: Mapping[str, Any]) -> None:
        self._user = user

    def __getitem__(self, name: str) -> list[Any]:
        return [self._user[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._user)

    def __len__(self) -> int:
        return len(self._user)


def candidate_inputs(
    request: RecommendationRequest,
    user: Mapping[str, Any],
    index: CandidateIndex,
    rows: np.ndarray,
    as_of: int,
    cache: PurchaseCache | None = None,
) -> np.ndarray:
    """Computes the inputs of rankers for index rows at ``as_of``, in microseconds.

    The result is float32 of shape ``(n, len(RANKER_INPUTS))``. ``cache`` holds the part that
    depends on the user's purchases alone.
    """
    if not len(rows):
        return NO_INPUTS
    columns = UserColumns(user)
    cached = None
    if cache is not None:
        cached = cache.purchases_of(request.user_id, user, columns, index, rows)
    return ranker_inputs(
        columns,
        index.coupons,
        rows,
        np.array([as_of]),
        [request.lines],
        cached,
        index.products or NO_ATTRIBUTES,
    )[0]
