"""The record of a decision for the log, as served and as a challenger would have ranked it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from feature_repo.instants import microseconds
from feature_repo.names import ranker_for
from serving.decisions.log import DecisionSink
from serving.decisions.record import SHADOW, Decision
from serving.decisions.shadow import Shadow
from serving.recommend.candidate_set import CandidateSet
from serving.recommend.scoring import Ranked
from serving.schemas.recommendation import RecommendationAnswer, RecommendationRequest


@dataclass(frozen=True)
class Records:
    """The decision log, and the thread that ranks in shadow; without one no challenger does."""

    decisions: DecisionSink
    shadow: Shadow | None = None

    def keep(self, decision: Decision, challenger_list: Callable[[], Ranked] | None) -> None:
        """Logs a decision and, after the answer, the list that a challenger would have shown."""
        self.decisions.record(decision)
        if challenger_list is None or self.shadow is None:
            return

        def rank_in_shadow() -> None:
            self.decisions.record(shadow_decision(decision, challenger_list()))

        self.shadow.submit(rank_in_shadow)


def decision_of(
    request: RecommendationRequest,
    answer: RecommendationAnswer,
    candidates: CandidateSet,
    ranked: Ranked,
    policy: str,
    arm: str,
    watermark: datetime | None,
) -> Decision:
    """Builds the record of a served answer, complete enough to evaluate other policies.

    Later rankers learn from the cart of ``request`` exactly as this one read it.
    ``policy`` is JSON, ``arm`` the alias that ranks for the user, ``watermark`` the instant up to
    which the online features are complete.
    """
    cart = request.lines
    return Decision(
        request_id=answer.request_id,
        event_timestamp=candidates.context.as_of,
        user_id=answer.user_id,
        placement=candidates.context.placement,
        candidate_ids=candidates.index.coupon_id[candidates.rows],
        coupon_ids=ranked.coupon_ids,
        features=ranked.inputs,
        scores=ranked.scores,
        propensities=ranked.propensities,
        model_name=ranked.ranker.name,
        model_version=ranked.ranker.version,
        feature_service=ranker_for(request.placement).service,
        removed=json.dumps(answer.removed),
        cold_start=answer.cold_start,
        stale_features=answer.stale_features,
        policy=policy,
        arm=arm,
        online_watermark=None if watermark is None else microseconds(watermark),
        cart_product_ids=[line.product_id for line in cart],
        cart_quantities=[line.quantity for line in cart],
        cart_unit_prices=[line.unit_price for line in cart],
    )


def shadow_decision(served: Decision, ranked: Ranked) -> Decision:
    """Copies a served decision with the challenger's list; ``removed`` counts for that list."""
    return replace(
        served,
        role=SHADOW,
        coupon_ids=ranked.coupon_ids,
        features=ranked.inputs,
        scores=ranked.scores,
        propensities=ranked.propensities,
        removed=json.dumps(ranked.removed),
        model_name=ranked.ranker.name,
        model_version=ranked.ranker.version,
    )
