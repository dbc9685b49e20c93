"""The candidates of one request: reachable coupons, rules before scoring, inputs of rankers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from feature_repo.instants import microseconds
from feature_repo.names import USER
from feature_repo.online.format.entity import Entity
from serving.candidates.cart import cart_of
from serving.candidates.discounts import coverage
from serving.candidates.index import CandidateIndex
from serving.errors import NotReady
from serving.ledger.ledger import END_OF_TIME, Ledger, holder_of
from serving.online.feast_reader import Freshness
from serving.online.resilient_users import User
from serving.recommend.features import candidate_inputs
from serving.recommend.purchase_cache import PurchaseCache
from serving.rules.context import BINDING_PLACEMENTS, RuleContext
from serving.rules.filter import filter_candidates
from serving.rules.settings import RuleSettings
from serving.runtime.clock import Clock
from serving.schemas.recommendation import RecommendationRequest
from serving.telemetry.stages import StageTimer


@dataclass(frozen=True)
class CandidateSet:
    """The candidates of a user at an instant.

    ``rows`` are the index rows that passed the rules, of ``reachable`` ones in all. ``removed``
    counts the others by rule. ``inputs`` has a row of ranker inputs for each of ``rows``.
    """

    user: User
    instant: datetime
    context: RuleContext
    reachable: int
    rows: np.ndarray
    removed: Mapping[str, int]
    inputs: np.ndarray

    @property
    def index(self) -> CandidateIndex:
        """The candidate index that the rows are of."""
        return self.context.index

    @property
    def is_cold_start(self) -> bool:
        """True if every feature of the user is unknown."""
        return is_unknown(self.user)


class CandidateBuilder:
    """Builds the candidate set of a request.

    Free of side effects, so it may run on a cached user that later proves stale.
    """

    def __init__(
        self,
        freshness: Freshness,
        index: Callable[[int], CandidateIndex | None],
        clock: Clock,
        ledger: Ledger,
        rules: RuleSettings,
        cache: PurchaseCache,
        new_id: Callable[[], str],
    ) -> None:
        self._freshness = freshness
        self._index = index
        self._clock = clock
        self._ledger = ledger
        self._rules = rules
        self._cache = cache
        self._new_id = new_id

    @property
    def is_cache_full(self) -> bool:
        """True if the features of one more user would evict those of another."""
        return self._cache.is_full

    def instant(self, as_of: datetime | None) -> datetime:
        """The instant to decide for: ``as_of`` in replay, else now. Raises AsOfRefused."""
        return self._clock.instant(as_of, self._freshness.watermark())

    def index(self, instant: int) -> CandidateIndex:
        """The index as of an instant in microseconds. Raises NotReady before there is one."""
        index = self._index(instant)
        if index is None:
            raise NotReady(
                "There are no coupons to choose from: nothing is in the online store yet (run "
                "`clipwise materialize`), or it cannot be read (the service's log says why)."
            )
        return index

    def build(self, request: RecommendationRequest, user: User, timer: StageTimer) -> CandidateSet:
        """Finds the reachable coupons, applies the rules, and computes the inputs of rankers.

        Raises AsOfRefused and NotReady.
        """
        instant = self.instant(request.as_of)
        as_of = microseconds(instant)
        index = self.index(as_of)
        reachable = index.candidates(user["campaign_ids"])
        context = RuleContext(
            index,
            as_of,
            redemption_counts(user),
            coverage(index.terms.discounts, cart_of(request.lines, request.deductions)),
            request.user_id,
            request.placement,
            self._rules,
            # On the wall clock everything in the ledger counts, though the clock may have been
            # set back since. In replay the ledger may be ahead of the instant.
            until=None if self._clock.replay else END_OF_TIME,
            holder=self._holder(request, user),
        )
        rows, removed = filter_candidates(context, reachable, self._ledger)
        timer.candidates(len(reachable))
        timer.lap("rules")
        inputs = candidate_inputs(request, user, index, rows, context.as_of, self._cache)
        timer.lap("features")
        return CandidateSet(user, instant, context, len(reachable), rows, removed, inputs)

    def _holder(self, request: RecommendationRequest, user: User) -> str | None:
        """The holder of the request's reservations: a visitor, or None for the user.

        An unknown user without a visitor_id may be any guest. So where a cart is about to be paid,
        each request is a visitor. Elsewhere it is the user: page views of guests would use up a
        budget that only a few of them come to redeem.
        """
        visitor = request.visitor_id
        is_paying = request.placement in BINDING_PLACEMENTS
        if visitor is None and is_paying and is_unknown(user):
            visitor = self._new_id()
        return holder_of(request.user_id, visitor)


def is_unknown(user: User) -> bool:
    """True if every feature of the user is unknown."""
    if isinstance(user, Entity):
        return user.is_unknown
    return all(value is None for name, value in user.items() if name != USER)


def redemption_counts(user: Mapping[str, Any]) -> dict[str, float]:
    """The user's redemptions so far, by coupon id."""
    ids, counts = user["redeemed_coupon_ids"], user["redeemed_coupon_counts"]
    return {} if ids is None else dict(zip(ids, counts, strict=True))
