"""Decides one request: candidates, scores, selection, answer, record, in this order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from feature_repo.instants import microseconds
from feature_repo.names import PLACEMENTS, ranker_for
from feature_repo.online.format.entity import Entity
from serving.candidates.index import CandidateIndex
from serving.ledger.ledger import Ledger, NoLedger
from serving.models.experiment import Experiment
from serving.models.rankers import Ranker
from serving.models.slot import Models
from serving.online.feast_reader import Freshness
from serving.online.resilient_users import User
from serving.policy.policies import Policies
from serving.recommend.answer import Answer, answer_of
from serving.recommend.candidate_set import CandidateBuilder, CandidateSet
from serving.recommend.decision import Records, decision_of
from serving.recommend.purchase_cache import PurchaseCache
from serving.recommend.scoring import Ranked, score_and_select
from serving.recommend.selection import Choice, DepartmentLabels, choice_for
from serving.rules.filter import needs_ledger
from serving.rules.settings import RuleSettings
from serving.runtime.clock import Clock
from serving.runtime.deadline import Deadline, no_deadline
from serving.runtime.threads import StartedCoroutine, Threads
from serving.schemas.recommendation import RecommendationRequest
from serving.telemetry.stages import NoTimer, StageTimer

_MOST_COUPONS_IN_LOOP = 2_000
"""A decision on more coupons holds the event loop too long and runs in a thread."""


class Users(Protocol):
    """Reads users; a store in trouble gives a cached or an unknown user instead of an error."""

    async def warm(self) -> None:
        """Connects to the store."""

    def cached(self, user_id: str) -> User | None:
        """The user as last read; ``read`` gives the same object if the stored user is unchanged."""

    async def read(self, user_id: str) -> tuple[User, tuple[str, ...]]:
        """Reads a user's features, with the kinds of degradation that reading them met."""

    async def prefetch(self, user_id: str) -> User | None:
        """Prefetches a user; None while the store is in trouble."""


@dataclass(frozen=True)
class Reads:
    """Sources of a request's data. ``index`` takes an instant; it is None until one is loaded.

    Without ``users`` a recommender decides only on users that it is handed.
    """

    freshness: Freshness
    index: Callable[[int], CandidateIndex | None]
    users: Users | None = None
    cache: PurchaseCache = field(default_factory=PurchaseCache)


@dataclass(frozen=True)
class Rankers:
    """The rankers in use, by the key of ``names.RANKERS``, and the experiment between versions."""

    models: Callable[[str], Models]
    experiment: Experiment = field(default_factory=Experiment)


@dataclass(frozen=True)
class Limits:
    """Rules and policies that restrict a list, and the ledger that limits are kept in.

    ``departments`` labels the rows of an index; without it no policy limits departments.
    """

    rules: RuleSettings = field(default_factory=RuleSettings)
    ledger: Ledger = field(default_factory=NoLedger)
    policies: Policies = field(default_factory=Policies)
    departments: DepartmentLabels | None = None


class Recommender:
    """Decides one request at a time.

    The ranker of the placement decides: ``names.ranker_for``. Index and models are read once a
    request, so that a swap never mixes two in one decision.
    ``new_id`` names a request, ``timer`` measures its stages, ``deadline`` starts its time.
    """

    def __init__(
        self,
        reads: Reads,
        rankers: Rankers,
        records: Records,
        clock: Clock,
        new_id: Callable[[], str],
        limits: Limits | None = None,
        timer: Callable[[], StageTimer] = NoTimer,
        deadline: Callable[[], Deadline] = no_deadline,
    ) -> None:
        self._reads = reads
        self._rankers = rankers
        self._records = records
        self._limits = limits or Limits()
        self._candidates = CandidateBuilder(
            reads.freshness,
            reads.index,
            clock,
            self._limits.ledger,
            self._limits.rules,
            reads.cache,
            new_id,
        )
        self._new_id = new_id
        self._timer = timer
        self._deadline = deadline
        self._threads = Threads()

    async def warm(self) -> None:
        """Connects to the online store, so that the first request need not."""
        if self._reads.users is not None:
            await self._reads.users.warm()

    def close(self) -> None:
        """Waits for decisions that still run in threads."""
        self._threads.close()

    async def recommend(self, request: RecommendationRequest) -> Answer:
        """Reads the user and decides within the deadline. Raises as ``decide`` does.

        While the store answers, candidates are built for the user as last read. They are used if
        the stored user is unchanged, as it nearly always is. Decisions that take long run in a
        thread, so that other requests do not wait.
        """
        deadline = self._deadline()
        with deadline.time_limit():
            timer, users = self._timer(), self._users()
            instant = self._candidates.instant(request.as_of)
            index = self._candidates.index(microseconds(instant))
            reading = StartedCoroutine(users.read(request.user_id))
            is_quick = is_decided_in_loop(index) and not request.explain
            cached = users.cached(request.user_id) if is_quick else None
            candidates = None
            if cached is not None:
                candidates = self._candidates.build(request, cached, timer)
            user, degraded = await reading
            timer.lap("read_user")
            decide = partial(self.decide, request, user, degraded, timer, deadline, candidates)
            return decide() if is_quick else await self._threads.run(decide)

    def decide(
        self,
        request: RecommendationRequest,
        user: User,
        degraded: tuple[str, ...] = (),
        timer: StageTimer | None = None,
        deadline: Deadline | None = None,
        candidates: CandidateSet | None = None,
    ) -> Answer:
        """Decides on a user: builds candidates, scores, selects, answers, and logs the decision.

        ``degraded`` are the kinds of degradation that reading the user met. ``candidates`` are used
        if they are of this very user. Raises AsOfRefused for an instant
        that this service cannot decide for, and NotReady without a candidate index. Past the
        deadline nothing is reserved or logged, and OutOfTime is raised.
        """
        timer, deadline = timer or self._timer(), deadline or no_deadline()
        if candidates is None or candidates.user is not user:
            candidates = self._candidates.build(request, user, timer)
        request_id, watermark = self._new_id(), self._reads.freshness.watermark()
        key = ranker_for(request.placement).key
        assigned = self._rankers.experiment.assign(
            key, self._rankers.models(key), request.user_id, request_id
        )
        choice = choice_for(
            request, request_id, candidates, self._limits.policies, self._limits.departments
        )
        deadline.check()
        ledger, freshness = self._limits.ledger, self._reads.freshness
        ranked = score_and_select(candidates, assigned.ranker, choice, ledger, timer)
        answer = answer_of(request, request_id, candidates, ranked, freshness, degraded)
        timer.lap("answer")
        record = decision_of(
            request, answer.body, candidates, ranked, choice.policy.as_json, assigned.arm, watermark
        )
        deadline.check()
        self._records.keep(record, _shadow_list(candidates, assigned.shadow, choice))
        timer.lap("log")
        timer.finish()
        return answer

    async def prefetch(self, user_id: str) -> bool:
        """Reads a user and computes their purchase features; true if another one should follow.

        None should follow once the cache is full, as it would evict active users, or while the
        store is in trouble.
        """
        user = await self._users().prefetch(user_id)
        # Users in another form are not cached.
        index = self._candidates.index(microseconds(self._candidates.instant(None)))
        if isinstance(user, Entity) and is_decided_in_loop(index):
            request = RecommendationRequest(user_id=user_id, placement=PLACEMENTS[0])
            self._candidates.build(request, user, NoTimer())
        return user is not None and not self._candidates.is_cache_full

    def _users(self) -> Users:
        if self._reads.users is None:
            raise TypeError("This recommender has no users to read: hand a user to decide().")
        return self._reads.users


def _shadow_list(
    candidates: CandidateSet, challenger: Ranker | None, choice: Choice
) -> Callable[[], Ranked] | None:
    """The ranking that a challenger would make, which claims nothing; None without one."""
    if challenger is None or not len(candidates.rows):
        return None
    return partial(score_and_select, candidates, challenger, choice, NoLedger(), NoTimer())


def is_decided_in_loop(index: CandidateIndex) -> bool:
    """True if other requests can wait for a decision: few coupons and no ledger to read."""
    return len(index) <= _MOST_COUPONS_IN_LOOP and not needs_ledger(index)
