"""The inputs of rankers for one user's candidates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS, ranker_inputs
from serving.candidates.index import CandidateIndex
from serving.recommend.purchase_cache import PurchaseCache
from serving.schemas.recommendation import RecommendationRequest

NO_INPUTS = np.empty((0, len(RANKER_INPUTS)), dtype=np.float32)


class OneUser(Mapping[str, Sequence]):
    """The features of one user as columns of one entry, taken when they are asked for."""

    def __init__(self, user: Mapping[str, Any]) -> None:
        self._user = user

    def __getitem__(self, name: str) -> list:
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
    purchases: PurchaseCache | None = None,
) -> np.ndarray:
    """What rankers read of the candidate rows at ``as_of``, in microseconds.

    The result is float32 of shape ``(n, len(RANKER_INPUTS))``. ``purchases`` keeps what was worked
    out of the user's.
    """
    if not len(rows):
        return NO_INPUTS
    columns = OneUser(user)
    known = purchases and purchases.of(request.user_id, user, columns, index, rows)
    carts = [request.lines]
    return ranker_inputs(columns, index.coupons, rows, np.array([as_of]), carts, known)[0]
