"""What becomes of a ranking: the coupons of the answer, and what the log keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from feature_repo.names import RANKER_SERVICE
from feature_repo.reasons import reasons
from serving.candidates import CandidateIndex
from serving.decision_files import SHADOW, Decision
from serving.model import Ranker
from serving.quotes import Coverage, quotes
from serving.ranking import Ranking
from serving.rules import AUDIENCE, HOLDOUT, Situation
from serving.schemas import Reason, Recommendation, RecommendationAnswer, RecommendationRequest

Reasons = tuple[Reason, ...]


def why(request: RecommendationRequest, ranker: Ranker, ranking: Ranking) -> Sequence[Reasons]:
    """The reasons of every shown coupon; none unless the request asks for them."""
    if not request.explain or not len(ranking.rows):
        return [()] * len(ranking.rows)
    effects = ranker.explain(ranking.inputs).by_input
    return [
        tuple(Reason(code=one.code, text=one.text, effect=one.effect) for one in reasons(*pair))
        for pair in zip(ranking.inputs, effects, strict=True)
    ]


def recommendations(
    index: CandidateIndex, ranking: Ranking, cover: Coverage, why: Sequence[Reasons]
) -> tuple[Recommendation, ...]:
    """The ranked coupons as a shop sees them, each with its reasons and its quote."""
    rows = ranking.rows
    columns = {
        "coupon_id": index.coupon_id[rows].tolist(),
        "coupon_code": index.coupon_code[rows].tolist(),
        "campaign_id": index.campaign_id[rows].tolist(),
        "rank": range(1, len(rows) + 1),
        "score": ranking.scores.tolist(),
        "propensity": ranking.propensities.tolist(),
        "valid_to": index.ends[rows].tolist(),
        "reasons": why,
        "quote": quotes(rows, cover),
    }
    return tuple(
        Recommendation.made_of(dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    )


def decision(
    answer: RecommendationAnswer,
    situation: Situation,
    rows: np.ndarray,
    ranking: Ranking,
    **made_by: object,
) -> Decision:
    """What the log keeps of a request: enough to learn from it and to evaluate other policies.

    ``made_by`` are the fields that say how: policy, arm and online_watermark.
    """
    index = situation.index
    return Decision(
        request_id=answer.request_id,
        event_timestamp=situation.as_of,
        user_id=answer.user_id,
        placement=situation.placement,
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


def counted(others: int, *removed: Mapping[str, int]) -> dict[str, int]:
    """How many coupons each rule removed; ``others`` are for users that are not this one."""
    total = {AUDIENCE: others} if others else {}
    for counts in removed:
        for rule, count in counts.items():
            total[rule] = total.get(rule, 0) + count
    return total


def why_nothing(reachable: int, removed: Mapping[str, int]) -> str:
    if not reachable:
        return "no campaign reaches this user"
    if HOLDOUT in removed:
        return "this user is in the holdout, which gets no coupons so that their effect can be seen"
    return "rules removed every coupon that reaches this user: removed says which"
