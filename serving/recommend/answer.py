"""The answer to a request: the shown coupons, the removed ones by rule, and its degradations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.transforms.request.reasons import reasons
from serving.candidates.combination import excluding, stacked_quotes
from serving.candidates.quotes import Quote, quotes
from serving.online.feast_reader import Freshness
from serving.recommend.candidate_set import CandidateSet
from serving.recommend.cart_notes import cart_notes
from serving.recommend.scoring import Ranked
from serving.rules.filter import AUDIENCE, HOLDOUT, LIMITS_UNKNOWN
from serving.schemas.degradation import (
    LEDGER,
    NO_CANDIDATES,
    STALE_FEATURES,
    UNKNOWN_PRODUCT,
    UNKNOWN_USER,
)
from serving.schemas.recommendation import (
    ModelName,
    Reason,
    Recommendation,
    RecommendationAnswer,
    RecommendationRequest,
)


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and the kinds of degradation (``schemas.degradation.KINDS``)."""

    body: RecommendationAnswer
    degraded: tuple[str, ...] = ()


def answer_of(
    request: RecommendationRequest,
    request_id: str,
    candidates: CandidateSet,
    ranked: Ranked,
    freshness: Freshness,
    degraded: tuple[str, ...] = (),
) -> Answer:
    """Builds the answer to a request from its ranked candidates.

    ``degraded`` are the kinds of degradation that reading the user met. Coupons carry reasons only
    if the request asks for them.
    """
    index, ranker = candidates.index, ranked.ranker
    removed = _counts(len(index) - candidates.reachable, candidates.removed, ranked.removed)
    reason = None if len(ranked.rows) else _empty_reason(candidates.reachable, removed)
    unknown_products = index.has_unknown(line.product_id for line in request.lines)
    body = RecommendationAnswer.construct_unchecked(
        {
            "request_id": request_id,
            "user_id": request.user_id,
            "model": ModelName.construct_unchecked(
                {"name": ranker.name, "version": ranker.version}
            ),
            "cold_start": candidates.is_cold_start,
            "stale_features": tuple(freshness.stale_features(candidates.instant)),
            "recommendations": _recommendations(candidates, ranked, request),
            "redemption_probability": ranked.list_probability,
            "removed": removed,
            "reason": reason,
            "cart_notes": cart_notes(request, index, unknown_products),
        }
    )
    return Answer(body, (*degraded, *_degradations(body, bool(degraded), unknown_products)))


def _degradations(
    body: RecommendationAnswer, is_store_degraded: bool, unknown_products: bool
) -> Iterator[str]:
    """Yields the kinds of degradation beside those of reading the user.

    A user of a degraded store counts as unknown, which is no degradation of its own.
    """
    if body.cold_start and not is_store_degraded:
        yield UNKNOWN_USER
    if unknown_products:
        yield UNKNOWN_PRODUCT
    if LIMITS_UNKNOWN in body.removed:
        yield LEDGER
    if body.stale_features:
        yield STALE_FEATURES
    if not body.recommendations:
        yield NO_CANDIDATES


def _recommendations(
    candidates: CandidateSet, ranked: Ranked, request: RecommendationRequest
) -> tuple[Recommendation, ...]:
    index, rows = candidates.index, ranked.rows
    quoted, excludes = _quoted(candidates, rows, request.combination)
    columns = {
        "coupon_id": index.coupon_id[rows].tolist(),
        "coupon_code": index.coupon_code[rows].tolist(),
        "campaign_id": index.campaign_id[rows].tolist(),
        "rank": range(1, len(rows) + 1),
        "score": ranked.scores.tolist(),
        "propensity": ranked.propensities.tolist(),
        "valid_to": index.valid_to_instants[rows].tolist(),
        "reasons": _reasons(ranked) if request.explain and len(rows) else [()] * len(rows),
        "quote": quoted,
        "redemption_probability": [None] * len(rows)
        if ranked.probabilities is None
        else ranked.probabilities.tolist(),
        "excludes": excludes,
    }
    return tuple(
        Recommendation.construct_unchecked(dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    )


def _quoted(
    candidates: CandidateSet, rows: np.ndarray, combination: str
) -> tuple[list[Quote | None], list[tuple[str, ...] | None]]:
    """Returns the quote of each shown coupon, and the coupons whose quotes cannot be added."""
    cover, none = candidates.context.coverage, [None] * len(rows)
    if combination == "stack":
        return stacked_quotes(rows, cover), [*none]
    quoted = quotes(rows, cover)
    if len(rows) < 2 or not len(cover.cart):
        return quoted, [*none]
    names = candidates.index.coupon_id[rows]
    return quoted, [
        None if others is None else tuple(names[list(others)].tolist())
        for others in excluding(rows, cover, quoted)
    ]


def _reasons(ranked: Ranked) -> Sequence[tuple[Reason, ...]]:
    """The reasons of each shown coupon, the largest effect first."""
    effects = ranked.ranker.explain(ranked.inputs).by_input
    return [
        tuple(Reason(code=one.code, text=one.text, effect=one.effect) for one in reasons(*pair))
        for pair in zip(ranked.inputs, effects, strict=True)
    ]


def _counts(others: int, *removed: Mapping[str, int]) -> dict[str, int]:
    """Removed coupons by rule. ``others`` are the coupons of campaigns that miss this user."""
    total = {AUDIENCE: others} if others else {}
    for counts in removed:
        for rule, count in counts.items():
            total[rule] = total.get(rule, 0) + count
    return total


def _empty_reason(reachable: int, removed: Mapping[str, int]) -> str:
    if not reachable:
        return "no campaign reaches this user"
    if HOLDOUT in removed:
        return "this user is in the holdout, which gets no coupons so that their effect can be seen"
    return "rules removed every coupon that reaches this user: removed says which"
