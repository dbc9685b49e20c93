"""Answers one request: which coupons this user sees, and why the others do not."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from starlette.concurrency import run_in_threadpool

from feature_repo.names import RANKER_SERVICE, USER
from feature_repo.reasons import reasons
from feature_repo.transforms.request import RANKER_INPUTS, ranker_inputs
from serving.candidates import CandidateIndex
from serving.clock import Clock, from_microseconds, microseconds
from serving.decision_files import Decision
from serving.decisions import DecisionSink
from serving.degradation import (
    NO_CANDIDATES,
    STALE_FEATURES,
    UNKNOWN_PRODUCT,
    UNKNOWN_USER,
    User,
)
from serving.errors import NotReady
from serving.ledger import Ledger, NoLedger
from serving.model import Ranker
from serving.online import Freshness
from serving.policy import propensities, rank
from serving.quotes import Coverage, cart_of, coverage, quotes
from serving.rules import AUDIENCE, HOLDOUT, RuleSettings, Situation, asks_ledger, before_scoring
from serving.schemas import (
    ModelName,
    Reason,
    Recommendation,
    RecommendationAnswer,
    RecommendationRequest,
)
from serving.selection import select
from serving.stages import Unwatched, Watch

log = logging.getLogger(__name__)

_MANY = 2_000
"""Above so many coupons a decision takes longer than others should wait for it."""

_NO_SCORES = np.empty(0)
_NO_INPUTS = np.empty((0, len(RANKER_INPUTS)), dtype=np.float32)


@dataclass(frozen=True)
class Ranking:
    """The shown coupons, best first: ``n`` index rows, scores and input rows."""

    rows: np.ndarray
    scores: np.ndarray
    inputs: np.ndarray


@dataclass(frozen=True)
class Answered:
    """An answer, and in which ways (``degradation.KINDS``) it is less than it could be."""

    answer: RecommendationAnswer
    degraded: tuple[str, ...] = ()


class Users(Protocol):
    """Reads users and always has an answer."""

    async def warm(self) -> None:
        """Connect to where users are read from."""

    async def read(self, user_id: str) -> tuple[User, tuple[str, ...]]:
        """What is known of a user, and in which ways it is less than it should be."""


class Recommender:
    """Decides for one request at a time; everything it needs is handed in.

    ``index`` and ``ranker`` are asked once a request, so that a swap never tears one apart.
    ``new_id`` names requests. ``watch`` gives one that hears of a request's stages. Without a
    ``ledger`` nothing counts as used, reserved or seen, and without ``users`` it only decides.
    """

    def __init__(
        self,
        freshness: Freshness,
        index: Callable[[], CandidateIndex | None],
        ranker: Callable[[], Ranker],
        decisions: DecisionSink,
        clock: Clock,
        new_id: Callable[[], str],
        watch: Callable[[], Watch] = Unwatched,
        ledger: Ledger | None = None,
        rules: RuleSettings | None = None,
        users: Users | None = None,
    ) -> None:
        self._users = users
        self._freshness = freshness
        self._index = index
        self._ranker = ranker
        self._decisions = decisions
        self._clock = clock
        self._new_id = new_id
        self._watch = watch
        self._ledger = ledger or NoLedger()
        self._rules = rules or RuleSettings()

    async def warm(self) -> None:
        """Do before the first request what it would otherwise wait for."""
        if self._users is not None:
            await self._users.warm()

    async def recommend(self, request: RecommendationRequest) -> Answered:
        """Read the user and decide; what takes long is done in a thread, so that others need not
        wait. Raises as ``decide`` does.
        """
        watch = self._watch()
        self._clock.instant(request.as_of, self._freshness.watermark())
        index = self._ready_index()
        user, degraded = await self._users.read(request.user_id)
        watch.lap("read_user")
        if request.explain or len(index) > _MANY or asks_ledger(index):
            answer = await run_in_threadpool(self.decide, request, user, watch)
        else:
            answer = self.decide(request, user, watch)
        return Answered(answer, (*degraded, *self._lacking(request, answer, index, degraded)))

    def decide(
        self, request: RecommendationRequest, user: User, watch: Watch | None = None
    ) -> RecommendationAnswer:
        """Form the candidates, apply the rules, score, rank, and log the decision.

        Raises AsOfRefused if the request names an instant this service cannot decide for, and
        NotReady if there is no candidate index yet.
        """
        watch = watch or self._watch()
        instant = self._clock.instant(request.as_of, self._freshness.watermark())
        index, ranker = self._ready_index(), self._ranker()
        reachable = index.candidates(user["campaign_ids"])
        situation = self._situation(request, index, microseconds(instant), user)
        rows, removed = before_scoring(situation, reachable, self._ledger)
        watch.candidates(len(reachable))
        watch.lap("rules")
        ranking, more = score_and_rank(request, user, situation, rows, ranker, self._ledger, watch)
        removed = _counted(len(index) - len(reachable), removed, more)
        answer = RecommendationAnswer(
            request_id=self._new_id(),
            user_id=request.user_id,
            model=ModelName(name=ranker.name, version=ranker.version),
            cold_start=is_unknown(user),
            stale_features=tuple(self._freshness.stale_features(instant)),
            recommendations=recommendations(
                index, ranking, situation.coverage, _why(request, ranker, ranking)
            ),
            removed=removed,
            reason=None if len(ranking.rows) else _why_nothing(len(reachable), removed),
        )
        watch.lap("answer")
        self._decisions.record(decision(request, answer, index, rows, ranking, situation.as_of))
        watch.lap("log")
        watch.finish()
        return answer

    def _lacking(
        self,
        request: RecommendationRequest,
        answer: RecommendationAnswer,
        index: CandidateIndex,
        degraded: tuple[str, ...],
    ) -> Iterator[str]:
        """What the answer had to do without, beside what the online store did."""
        if answer.cold_start and not degraded:
            yield UNKNOWN_USER
        if index.lacks_any(item.product_id for item in request.cart):
            yield UNKNOWN_PRODUCT
        if answer.stale_features:
            yield STALE_FEATURES
        if not answer.recommendations:
            yield NO_CANDIDATES

    def _situation(
        self,
        request: RecommendationRequest,
        index: CandidateIndex,
        as_of: int,
        user: Mapping[str, Any],
    ) -> Situation:
        return Situation(
            index,
            as_of,
            redemptions(user),
            coverage(index.terms.offers, cart_of([item.priced() for item in request.cart])),
            request.user_id,
            request.placement,
            self._rules,
        )

    def _ready_index(self) -> CandidateIndex:
        index = self._index()
        if index is None:
            raise NotReady(
                "There are no coupons to choose from, as nothing is in the online store yet; run "
                "`clipwise materialize`."
            )
        return index


def score_and_rank(
    request: RecommendationRequest,
    user: Mapping[str, Any],
    situation: Situation,
    rows: np.ndarray,
    ranker: Ranker,
    ledger: Ledger,
    watch: Watch,
) -> tuple[Ranking, dict[str, int]]:
    """The ``k`` best of the candidate rows that may be shown beside each other.

    Also gives how many were removed after scoring, by rule.
    """
    if not len(rows):
        return Ranking(rows, _NO_SCORES, _NO_INPUTS), {}
    index, as_of = situation.index, np.array([situation.as_of])
    columns = {name: [value] for name, value in user.items()}
    cart = [item.priced() for item in request.cart]
    inputs = ranker_inputs(columns, index.coupons, rows, as_of, [cart])[0]
    watch.lap("features")
    scores = np.asarray(ranker.score(inputs), dtype=np.float64)
    watch.lap("score")
    ranked = rank(scores, index.coupon_id[rows], len(rows), index.ties[rows])
    places, removed = select(situation, rows[ranked], request.k, ledger)
    watch.lap("rank")
    best = ranked[places]
    return Ranking(rows[best], scores[best], inputs[best]), removed


def is_unknown(user: Mapping[str, Any]) -> bool:
    """Whether nothing at all is known of the user."""
    return all(value is None for name, value in user.items() if name != USER)


def redemptions(user: Mapping[str, Any]) -> dict[str, float]:
    """How often the user redeemed each coupon so far."""
    ids, counts = user["redeemed_coupon_ids"], user["redeemed_coupon_counts"]
    return {} if ids is None else dict(zip(ids, counts, strict=True))


Reasons = tuple[Reason, ...]


def _why(request: RecommendationRequest, ranker: Ranker, ranking: Ranking) -> Sequence[Reasons]:
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
    chances = propensities(len(ranking.rows))
    quoted = quotes(ranking.rows, cover)
    return tuple(
        Recommendation(
            coupon_id=index.coupon_id[row],
            coupon_code=index.coupon_code[row],
            campaign_id=index.campaign_id[row],
            rank=place + 1,
            score=float(ranking.scores[place]),
            propensity=float(chances[place]),
            valid_to=from_microseconds(index.valid_to[row]),
            reasons=why[place],
            quote=quoted[place],
        )
        for place, row in enumerate(ranking.rows)
    )


def decision(
    request: RecommendationRequest,
    answer: RecommendationAnswer,
    index: CandidateIndex,
    rows: np.ndarray,
    ranking: Ranking,
    as_of: int,
) -> Decision:
    """What the log keeps of a request: enough to learn from it and to evaluate other policies."""
    return Decision(
        request_id=answer.request_id,
        event_timestamp=as_of,
        user_id=request.user_id,
        placement=request.placement,
        candidate_ids=index.coupon_id[rows],
        coupon_ids=index.coupon_id[ranking.rows],
        features=ranking.inputs,
        scores=ranking.scores,
        propensities=propensities(len(ranking.rows)),
        model_name=answer.model.name,
        model_version=answer.model.version,
        feature_service=RANKER_SERVICE,
        removed=json.dumps(answer.removed),
        cold_start=answer.cold_start,
        stale_features=answer.stale_features,
    )


def _counted(others: int, *removed: Mapping[str, int]) -> dict[str, int]:
    """How many coupons each rule removed; ``others`` are for users that are not this one."""
    total = Counter({AUDIENCE: others} if others else {})
    for counts in removed:
        total.update(counts)
    return dict(total)


def _why_nothing(reachable: int, removed: Mapping[str, int]) -> str:
    if not reachable:
        return "no campaign reaches this user"
    if HOLDOUT in removed:
        return "this user is in the holdout, which gets no coupons so that their effect can be seen"
    return "rules removed every coupon that reaches this user: removed says which"
