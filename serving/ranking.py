"""From candidates to the list that is shown: what a ranker reads, its scores, and the choice."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_repo.transforms.request import RANKER_INPUTS, ranker_inputs
from serving.candidates import CandidateIndex
from serving.ledger import Ledger
from serving.model import Ranker
from serving.policy import rank
from serving.purchases import Purchases
from serving.rules import UNSCORED, Situation
from serving.schemas import RecommendationRequest
from serving.selection import Choice, select
from serving.stages import Watch

_NO_SCORES = np.empty(0)
_NO_INPUTS = np.empty((0, len(RANKER_INPUTS)), dtype=np.float32)


@dataclass(frozen=True)
class Ranking:
    """The shown coupons, in order: ``n`` index rows, scores, input rows and propensities.

    ``removed`` counts, by rule, what was removed after scoring.
    """

    rows: np.ndarray
    scores: np.ndarray
    inputs: np.ndarray
    propensities: np.ndarray
    removed: Mapping[str, int]


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
    purchases: Purchases | None = None,
) -> np.ndarray:
    """What rankers read of the candidate rows at ``as_of``, in microseconds.

    The result is float32 of shape ``(n, len(RANKER_INPUTS))``. ``purchases`` keeps what was worked
    out of the user's.
    """
    if not len(rows):
        return _NO_INPUTS
    columns = OneUser(user)
    known = purchases and purchases.of(request.user_id, user, columns, index, rows)
    carts = [request.lines]
    return ranker_inputs(columns, index.coupons, rows, np.array([as_of]), carts, known)[0]


def score_and_rank(
    situation: Situation,
    rows: np.ndarray,
    inputs: np.ndarray,
    ranker: Ranker,
    choice: Choice,
    ledger: Ledger,
    watch: Watch,
) -> Ranking:
    """The ``k`` candidate rows that the policy chooses of those that may be shown together.

    What the ranker has no number for (NaN or infinite) is not shown: no answer could say it.
    """
    if not len(rows):
        return Ranking(rows, _NO_SCORES, _NO_INPUTS, _NO_SCORES, {})
    scores = np.asarray(ranker.score(inputs), dtype=np.float64)
    watch.lap("score")
    index, unscored = situation.index, {}
    ranked = rank(scores, index.coupon_id[rows], len(rows), index.ties[rows])
    # Whatever is no number ranks first or last.
    if not (math.isfinite(scores[ranked[0]]) and math.isfinite(scores[ranked[-1]])):
        known = ranked[np.isfinite(scores[ranked])]
        unscored, ranked = {UNSCORED: len(ranked) - len(known)}, known
    chosen = select(situation, rows[ranked], scores[ranked], choice, ledger)
    watch.lap("rank")
    best = ranked[chosen.places]
    removed = unscored | chosen.removed
    return Ranking(rows[best], scores[best], inputs[best], chosen.propensities, removed)
