"""What becomes of a ranking: the coupons of the answer, and what the log keeps."""

from collections.abc import Mapping, Sequence

from feature_repo.transforms.request.reasons import reasons
from serving.candidates.index import CandidateIndex
from serving.candidates.quotes import Coverage, quotes
from serving.models.rankers import Ranker
from serving.recommend.scoring import Ranking
from serving.rules.filter import AUDIENCE, HOLDOUT
from serving.schemas.recommendation import (
    Reason,
    Recommendation,
    RecommendationRequest,
)

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
