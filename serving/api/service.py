"""The parts that the routes need, as one value."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.access.admission import KeySource
from serving.candidates.index import IndexSlot
from serving.decisions.log import DecisionLog
from serving.decisions.shadow import Shadow
from serving.events.inbox import Inbox
from serving.http.limits import Limits
from serving.models.experiment import Experiment
from serving.models.slot import Slots
from serving.models.webhook import Webhook
from serving.online.feast_reader import Freshness
from serving.policy.policies import Policies
from serving.recommend.prefetch import Prefetch
from serving.recommend.recommender import Recommender
from serving.runtime.background import Background
from serving.runtime.clock import Clock
from serving.telemetry.metrics import Metrics
from serving.telemetry.traces import Traces


@dataclass(frozen=True)
class Service:
    """Everything the routes need, built by ``wiring``.

    ``timer`` gives monotonic seconds. ``started`` is called once everything is in memory. Optional
    parts: ``webhook`` receives the registry's notices, ``traces`` exports spans, ``shadow`` ranks
    for a challenger, ``prefetch`` prefetches likely users. ``online_is_down`` is true while the
    circuit breaker of the online store is open, ``online_is_lost`` while the store is empty.
    """

    recommender: Recommender
    index: IndexSlot
    slots: Slots
    freshness: Freshness
    decisions: DecisionLog
    inbox: Inbox
    metrics: Metrics
    background: Background
    clock: Clock
    timer: Callable[[], float]
    keys: KeySource
    limits: Limits
    webhook: Webhook | None = None
    traces: Traces | None = None
    policies: Policies = field(default_factory=Policies)
    experiment: Experiment = field(default_factory=Experiment)
    shadow: Shadow | None = None
    prefetch: Prefetch | None = None
    online_is_down: Callable[[], bool] = lambda: False
    started: Callable[[], None] = lambda: None
    online_is_lost: Callable[[], bool] = lambda: False
