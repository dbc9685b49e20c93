"""What is worked out of a user before anything is decided, counted, reserved or logged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from feature_repo.instants import microseconds
from serving.candidates.cart import cart_of
from serving.candidates.index import CandidateIndex
from serving.candidates.quotes import coverage
from serving.errors import NotReady
from serving.ledger.ledger import EVER, Ledger
from serving.online.feast_reader import Freshness
from serving.online.resilient_users import User
from serving.recommend.features import candidate_inputs
from serving.recommend.purchase_cache import PurchaseCache
from serving.rules.context import RuleContext
from serving.rules.filter import before_scoring
from serving.rules.settings import RuleSettings
from serving.runtime.clock import Clock
from serving.schemas.recommendation import RecommendationRequest
from serving.telemetry.stages import StageTimer


@dataclass(frozen=True)
class CandidateSet:
    """What a decision starts from.

    ``instant`` is the one decided for. ``rows`` are the candidates that the rules let through of
    the ``reachable`` ones, ``removed`` counts the others by rule, and ``inputs`` are what rankers
    read of the rows.
    """

    user: User
    instant: datetime
    context: RuleContext
    reachable: int
    rows: np.ndarray
    removed: Mapping[str, int]
    inputs: np.ndarray


class CandidateBuilder:
    """Prepares one request at a time, from the parts that a ``Recommender`` was given.

    It may be done of a user who turns out to be another one by now: nobody sees anything of it.
    """

    def __init__(
        self,
        freshness: Freshness,
        index: Callable[[], CandidateIndex | None],
        clock: Clock,
        ledger: Ledger,
        rules: RuleSettings,
    ) -> None:
        self._freshness = freshness
        self._index = index
        self._clock = clock
        self._ledger = ledger
        self._rules = rules
        self._purchases = PurchaseCache()

    @property
    def is_full(self) -> bool:
        """Whether what is worked out of one more user pushes out another one."""
        return self._purchases.is_full

    def instant(self, request: RecommendationRequest) -> datetime:
        """The instant that a request is decided for. Raises AsOfRefused."""
        return self._clock.instant(request.as_of, self._freshness.watermark())

    def index(self) -> CandidateIndex:
        """The candidate index of this moment. Raises NotReady while there is none."""
        index = self._index()
        if index is None:
            raise NotReady(
                "There are no coupons to choose from: nothing is in the online store yet (run "
                "`clipwise materialize`), or it cannot be read (the service's log says why)."
            )
        return index

    def of(self, request: RecommendationRequest, user: User, watch: StageTimer) -> CandidateSet:
        """Form the candidates, apply the rules, and work out what rankers read.

        Raises AsOfRefused and NotReady.
        """
        instant, index = self.instant(request), self.index()
        reachable = index.candidates(user["campaign_ids"])
        context = self._situation(request, index, instant, user)
        rows, removed = before_scoring(context, reachable, self._ledger)
        watch.candidates(len(reachable))
        watch.lap("rules")
        inputs = candidate_inputs(request, user, index, rows, context.as_of, self._purchases)
        watch.lap("features")
        return CandidateSet(user, instant, context, len(reachable), rows, removed, inputs)

    def _situation(
        self,
        request: RecommendationRequest,
        index: CandidateIndex,
        instant: datetime,
        user: Mapping[str, Any],
    ) -> RuleContext:
        return RuleContext(
            index,
            microseconds(instant),
            redemptions(user),
            coverage(index.terms.offers, cart_of(request.lines)),
            request.user_id,
            request.placement,
            self._rules,
            # What the ledger has did happen, though the clock may have been set back since. In
            # replay it may be later than the instant that is decided for.
            until=None if self._clock.replay else EVER,
        )


def redemptions(user: Mapping[str, Any]) -> dict[str, float]:
    """How often the user redeemed each coupon so far."""
    ids, counts = user["redeemed_coupon_ids"], user["redeemed_coupon_counts"]
    return {} if ids is None else dict(zip(ids, counts, strict=True))
