"""From candidates to the list that is shown: what a ranker reads, its scores, and the choice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.ledger.ledger import Ledger
from serving.models.rankers import Ranker
from serving.policy.order import rank
from serving.recommend.features import NO_INPUTS
from serving.recommend.selection import Choice, select
from serving.rules.context import RuleContext
from serving.rules.filter import UNSCORED
from serving.telemetry.stages import StageTimer

_NO_SCORES = np.empty(0)


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


def score_and_rank(
    context: RuleContext,
    rows: np.ndarray,
    inputs: np.ndarray,
    ranker: Ranker,
    choice: Choice,
    ledger: Ledger,
    watch: StageTimer,
) -> Ranking:
    """The ``k`` candidate rows that the policy chooses of those that may be shown together.

    What the ranker has no number for (NaN or infinite) is not shown: no answer could say it.
    """
    if not len(rows):
        return Ranking(rows, _NO_SCORES, NO_INPUTS, _NO_SCORES, {})
    scores = np.asarray(ranker.score(inputs), dtype=np.float64)
    watch.lap("score")
    index, unscored = context.index, {}
    ranked = rank(scores, index.coupon_id[rows], len(rows), index.ties[rows])
    # Whatever is no number ranks first or last.
    if not (math.isfinite(scores[ranked[0]]) and math.isfinite(scores[ranked[-1]])):
        known = ranked[np.isfinite(scores[ranked])]
        unscored, ranked = {UNSCORED: len(ranked) - len(known)}, known
    chosen = select(context, rows[ranked], scores[ranked], choice, ledger)
    watch.lap("rank")
    best = ranked[chosen.places]
    removed = unscored | chosen.removed
    return Ranking(rows[best], scores[best], inputs[best], chosen.propensities, removed)
