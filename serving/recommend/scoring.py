"""Scores the candidates and selects the coupons to show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.ledger.ledger import Ledger
from serving.models.rankers import Ranker
from serving.policy.order import rank
from serving.recommend.candidate_set import CandidateSet
from serving.recommend.features import NO_INPUTS
from serving.recommend.selection import Choice, select
from serving.rules.filter import UNSCORED
from serving.telemetry.stages import StageTimer

_NO_SCORES = np.empty(0)


@dataclass(frozen=True)
class Ranked:
    """The ``n`` coupons to show, best first, and the ranker of their scores.

    ``rows`` are index rows, ``coupon_ids`` their coupons; ``inputs`` has shape
    ``(n, len(RANKER_INPUTS))``. ``removed`` counts, by rule, the coupons removed after scoring.
    ``probabilities`` has the probability of each coupon that it is redeemed at this visit,
    ``list_probability`` that of any candidate; None without a calibration or a candidate.
    """

    ranker: Ranker
    rows: np.ndarray
    coupon_ids: np.ndarray
    scores: np.ndarray
    inputs: np.ndarray
    propensities: np.ndarray
    removed: Mapping[str, int]
    probabilities: np.ndarray | None = None
    list_probability: float | None = None


def score_and_select(
    candidates: CandidateSet, ranker: Ranker, choice: Choice, ledger: Ledger, timer: StageTimer
) -> Ranked:
    """Scores the candidates, selects the list by the policy, and claims what the ledger limits.

    A score that is not finite removes its coupon, as JSON cannot hold it.
    """
    rows, inputs, context = candidates.rows, candidates.inputs, candidates.context
    if not len(rows):
        return Ranked(
            ranker, rows, context.index.coupon_id[rows], _NO_SCORES, NO_INPUTS, _NO_SCORES, {}
        )
    scores = np.asarray(ranker.score(inputs), dtype=np.float64)
    timer.lap("score")
    index = candidates.index
    unscored: dict[str, int] = {}
    ranked = rank(scores, index.coupon_id[rows], len(rows), index.ties[rows])
    # NaN and the infinities rank first or last, so that two values tell whether there are any.
    if not (math.isfinite(scores[ranked[0]]) and math.isfinite(scores[ranked[-1]])):
        finite = ranked[np.isfinite(scores[ranked])]
        unscored, ranked = {UNSCORED: len(ranked) - len(finite)}, finite
    selected = select(context, rows[ranked], scores[ranked], choice, ledger)
    timer.lap("rank")
    best = ranked[selected.places]
    of_coupons, of_list = None, None
    if ranker.calibration is not None:
        of_coupons, of_list = ranker.calibration.of_request(scores[ranked], inputs)
    return Ranked(
        ranker,
        rows[best],
        index.coupon_id[rows[best]],
        scores[best],
        inputs[best],
        selected.propensities,
        unscored | selected.removed,
        None if of_coupons is None else of_coupons[selected.places],
        of_list,
    )
