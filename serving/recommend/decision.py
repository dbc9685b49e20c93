"""Builds the record of a decision for the log, served or in shadow."""

import json
from dataclasses import replace

import numpy as np

from feature_repo.names import RANKER_SERVICE
from serving.candidates.index import CandidateIndex
from serving.decisions.record import SHADOW, Decision
from serving.models.rankers import Ranker
from serving.recommend.scoring import Ranking
from serving.rules.context import RuleContext
from serving.schemas.recommendation import (
    RecommendationAnswer,
)


def decision(
    answer: RecommendationAnswer,
    context: RuleContext,
    rows: np.ndarray,
    ranking: Ranking,
    **made_by: object,
) -> Decision:
    """What the log keeps of a request: enough to learn from it and to evaluate other policies.

    ``made_by`` are the fields that say how: policy, arm and online_watermark.
    """
    index = context.index
    return Decision(
        request_id=answer.request_id,
        event_timestamp=context.as_of,
        user_id=answer.user_id,
        placement=context.placement,
        candidate_ids=index.coupon_id[rows],
        coupon_ids=index.coupon_id[ranking.rows],
        features=ranking.inputs,
        scores=ranking.scores,
        propensities=ranking.propensities,
        model_name=answer.model.name,
        model_version=answer.model.version,
        feature_service=RANKER_SERVICE,
        removed=json.dumps(answer.removed),
        cold_start=answer.cold_start,
        stale_features=answer.stale_features,
        **made_by,
    )


def shadowed(served: Decision, index: CandidateIndex, ranker: Ranker, ranking: Ranking) -> Decision:
    """What another ranker would have shown in place of a decision; ``removed`` is of its list."""
    return replace(
        served,
        role=SHADOW,
        coupon_ids=index.coupon_id[ranking.rows],
        features=ranking.inputs,
        scores=ranking.scores,
        propensities=ranking.propensities,
        removed=json.dumps(ranking.removed),
        model_name=ranker.name,
        model_version=ranker.version,
    )
