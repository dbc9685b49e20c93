"""What is worked out of a user before anything is decided, counted, reserved or logged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from serving.candidates import CandidateIndex
from serving.clock import Clock, microseconds
from serving.degradation import User
from serving.errors import NotReady
from serving.ledger import EVER, Ledger
from serving.online import Freshness
from serving.purchases import Purchases
from serving.quotes import cart_of, coverage
from serving.ranking import candidate_inputs
from serving.rules import RuleSettings, Situation, before_scoring
from serving.schemas import RecommendationRequest
from serving.stages import Watch


@dataclass(frozen=True)
class Prepared:
    """What a decision starts from.

    ``instant`` is the one decided for. ``rows`` are the candidates that the rules let through of
    the ``reachable`` ones, ``removed`` counts the others by rule, and ``inputs`` are what rankers
    read of the rows.
    """

    user: User
    instant: datetime
    situation: Situation
    reachable: int
    rows: np.ndarray
    removed: Mapping[str, int]
    inputs: np.ndarray


class Preparation:
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
        self._purchases = Purchases()

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

    def of(self, request: RecommendationRequest, user: User, watch: Watch) -> Prepared:
        """Form the candidates, apply the rules, and work out what rankers read.

        Raises AsOfRefused and NotReady.
        """
        instant, index = self.instant(request), self.index()
        reachable = index.candidates(user["campaign_ids"])
        situation = self._situation(request, index, instant, user)
        rows, removed = before_scoring(situation, reachable, self._ledger)
        watch.candidates(len(reachable))
        watch.lap("rules")
        inputs = candidate_inputs(request, user, index, rows, situation.as_of, self._purchases)
        watch.lap("features")
        return Prepared(user, instant, situation, len(reachable), rows, removed, inputs)

    def _situation(
        self,
        request: RecommendationRequest,
        index: CandidateIndex,
        instant: datetime,
        user: Mapping[str, Any],
    ) -> Situation:
        return Situation(
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
