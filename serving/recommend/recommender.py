"""Answers one request: which coupons this user sees, and why the others do not."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feature_repo.instants import microseconds
from feature_repo.names import PLACEMENTS, USER
from feature_repo.online.format.entity import Entity
from serving.candidates.index import CandidateIndex
from serving.decisions.log import DecisionSink
from serving.decisions.record import Decision
from serving.decisions.shadow import Shadow
from serving.ledger.ledger import Ledger, NoLedger
from serving.models.experiment import Experiment
from serving.models.rankers import Ranker
from serving.models.slot import Models
from serving.online.feast_reader import Freshness
from serving.online.resilient_users import User
from serving.policy.policies import Policies
from serving.recommend.answer import counted, recommendations, why, why_nothing
from serving.recommend.candidate_set import CandidateBuilder, CandidateSet
from serving.recommend.decision import decision, shadowed
from serving.recommend.scoring import score_and_rank
from serving.recommend.selection import Choice
from serving.rules.context import RuleContext
from serving.rules.filter import UNKNOWN, asks_ledger
from serving.rules.settings import RuleSettings
from serving.runtime.clock import Clock
from serving.runtime.deadline import NEVER, Deadline
from serving.runtime.threads import StartedCoroutine, Threads
from serving.schemas.degradation import (
    LEDGER,
    NO_CANDIDATES,
    STALE_FEATURES,
    UNKNOWN_PRODUCT,
    UNKNOWN_USER,
)
from serving.schemas.recommendation import ModelName, RecommendationAnswer, RecommendationRequest
from serving.telemetry.stages import NoTimer, StageTimer

log = logging.getLogger(__name__)

_MANY = 2_000
"""Above so many coupons a decision takes longer than others should wait for it."""


@dataclass(frozen=True)
class Answered:
    """An answer, and in which ways (``degradation.KINDS``) it is less than it could be."""

    answer: RecommendationAnswer
    degraded: tuple[str, ...] = ()


class Users(Protocol):
    """Reads users and always has an answer."""

    async def warm(self) -> None:
        """Connect to where users are read from."""

    def remembered(self, user_id: str) -> User | None:
        """Who was read last; ``read`` gives the same object if that still is what is known."""

    async def read(self, user_id: str) -> tuple[User, tuple[str, ...]]:
        """What is known of a user, and in which ways it is less than it should be."""

    async def ahead(self, user_id: str) -> User | None:
        """What is known of somebody whom nobody asked for; None if that cannot be said now."""


class Recommender:
    """Decides for one request at a time; everything it needs is handed in.

    ``index`` and ``models`` are asked once a request, so that a swap never tears one apart.
    ``new_id`` names requests. ``watch`` gives one that hears of a request's stages. Without a
    ``ledger`` nothing counts as used, reserved or seen, and without ``users`` it only decides.
    Without ``departments``, which gives a number for each row of an index, no policy limits them;
    without a ``shadow`` no challenger ranks there. ``deadline`` begins a request's time.
    """

    def __init__(
        self,
        freshness: Freshness,
        index: Callable[[], CandidateIndex | None],
        models: Callable[[], Models],
        decisions: DecisionSink,
        clock: Clock,
        new_id: Callable[[], str],
        watch: Callable[[], StageTimer] = NoTimer,
        ledger: Ledger | None = None,
        rules: RuleSettings | None = None,
        users: Users | None = None,
        policies: Policies | None = None,
        departments: Callable[[CandidateIndex], np.ndarray] | None = None,
        experiment: Experiment | None = None,
        shadow: Shadow | None = None,
        deadline: Callable[[], Deadline] = NEVER,
    ) -> None:
        self._deadline = deadline
        self._threads = Threads()
        self._users = users
        self._freshness = freshness
        self._models = models
        self._decisions = decisions
        self._new_id = new_id
        self._watch = watch
        self._ledger = ledger or NoLedger()
        rules = rules or RuleSettings()
        self._preparation = CandidateBuilder(freshness, index, clock, self._ledger, rules)
        self._policies = policies or Policies()
        self._departments = departments
        self._experiment = experiment or Experiment()
        self._shadow = shadow

    async def warm(self) -> None:
        """Do before the first request what it would otherwise wait for."""
        if self._users is not None:
            await self._users.warm()

    def close(self) -> None:
        """Wait for what still runs in threads."""
        self._threads.close()

    async def recommend(self, request: RecommendationRequest) -> Answered:
        """Read the user and decide; what takes long is done in a thread, so that others need not
        wait. Raises as ``decide`` does.
        """
        deadline = self._deadline()
        with deadline.kept():
            return await self._answered(request, deadline)

    async def ahead(self, user_id: str) -> bool:
        """Read a user and work out what requests will need; whether that makes sense for others.

        It does not once the memory is full, or while the store is in trouble.
        """
        user = await self._users.ahead(user_id)
        # Nothing is kept of who comes in another form.
        if isinstance(user, Entity) and _is_quick(self._preparation.index()):
            request = RecommendationRequest(user_id=user_id, placement=PLACEMENTS[0])
            self._preparation.of(request, user, NoTimer())
        return user is not None and not self._preparation.is_full

    async def _answered(self, request: RecommendationRequest, deadline: Deadline) -> Answered:
        watch = self._watch()
        self._preparation.instant(request)
        index = self._preparation.index()
        reading = StartedCoroutine(self._users.read(request.user_id))
        is_quick = _is_quick(index) and not request.explain
        # While the store answers: it nearly always says of a user what it said before.
        before = self._users.remembered(request.user_id) if is_quick else None
        prepared = None
        if before is not None:
            prepared = self._preparation.of(request, before, watch)
        user, degraded = await reading
        watch.lap("read_user")
        if is_quick:
            answer = self.decide(request, user, watch, deadline, prepared)
        else:
            answer = await self._threads.run(self.decide, request, user, watch, deadline)
        return Answered(answer, (*degraded, *self._lacking(request, answer, index, degraded)))

    def decide(
        self,
        request: RecommendationRequest,
        user: User,
        watch: StageTimer | None = None,
        deadline: Deadline | None = None,
        prepared: CandidateSet | None = None,
    ) -> RecommendationAnswer:
        """Form the candidates, apply the rules, score, rank, and log the decision.

        What was ``prepared`` of the same user is used. Raises AsOfRefused if the request names an
        instant this service cannot decide for, and NotReady if there is no candidate index yet.
        After the ``deadline`` nothing is reserved or logged, and OutOfTime is raised.
        """
        watch, request_id = watch or self._watch(), self._new_id()
        deadline = deadline or NEVER()
        if prepared is None or prepared.user is not user:
            prepared = self._preparation.of(request, user, watch)
        context, rows, inputs = prepared.context, prepared.rows, prepared.inputs
        index, watermark = context.index, self._freshness.watermark()
        assigned = self._experiment.assign(self._models(), request.user_id, request_id)
        choice = self._choice(request, index, request_id, context.as_of)
        ranker = assigned.ranker
        deadline.check()
        ranking = score_and_rank(context, rows, inputs, ranker, choice, self._ledger, watch)
        removed = counted(len(index) - prepared.reachable, prepared.removed, ranking.removed)
        answer = RecommendationAnswer.made_of(
            {
                "request_id": request_id,
                "user_id": request.user_id,
                "model": ModelName.made_of({"name": ranker.name, "version": ranker.version}),
                "cold_start": is_unknown(user),
                "stale_features": tuple(self._freshness.stale_features(prepared.instant)),
                "recommendations": recommendations(
                    index, ranking, context.coverage, why(request, ranker, ranking)
                ),
                "removed": removed,
                "reason": None if len(ranking.rows) else why_nothing(prepared.reachable, removed),
            }
        )
        watch.lap("answer")
        made = decision(
            answer,
            context,
            rows,
            ranking,
            policy=choice.policy.as_json,
            arm=assigned.arm,
            online_watermark=None if watermark is None else microseconds(watermark),
        )
        deadline.check()
        self._decisions.record(made)
        self._watch_challenger(assigned.shadow, made, context, rows, inputs, choice)
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
        if UNKNOWN in answer.removed:
            yield LEDGER
        if answer.stale_features:
            yield STALE_FEATURES
        if not answer.recommendations:
            yield NO_CANDIDATES

    def _choice(
        self, request: RecommendationRequest, index: CandidateIndex, request_id: str, as_of: int
    ) -> Choice:
        policy = self._policies.of(request.placement)
        if policy.is_plain:
            return Choice(request.k, policy)
        departments = self._departments and self._departments(index)
        return Choice(request.k, policy, departments, (request_id, request.user_id, as_of))

    def _watch_challenger(
        self,
        challenger: Ranker | None,
        served: Decision,
        context: RuleContext,
        rows: np.ndarray,
        inputs: np.ndarray,
        choice: Choice,
    ) -> None:
        """Log what the challenger would have shown, once there is time; it takes nothing."""
        if challenger is None or self._shadow is None or not len(rows):
            return
        inputs = inputs.copy()

        def rank_in_shadow() -> None:
            ranking = score_and_rank(
                context, rows, inputs, challenger, choice, NoLedger(), NoTimer()
            )
            self._decisions.record(shadowed(served, context.index, challenger, ranking))

        self._shadow.submit(rank_in_shadow)


def _is_quick(index: CandidateIndex) -> bool:
    """Whether others can wait for a decision."""
    return len(index) <= _MANY and not asks_ledger(index)


def is_unknown(user: Mapping[str, Any]) -> bool:
    """Whether nothing at all is known of the user."""
    if isinstance(user, Entity):
        return user.is_unknown
    return all(value is None for name, value in user.items() if name != USER)
