"""The parts that the routes need, as one value."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.access.admission import Keys
from serving.candidates.index import IndexSlot
from serving.decisions.log import DecisionLog
from serving.decisions.shadow import Shadow
from serving.events.inbox import Inbox
from serving.http.limits import Limits
from serving.models.experiment import Experiment
from serving.models.slot import ModelSlot
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
    """Everything the routes need, built by the composition root.

    ``timer`` gives seconds that only grow, for measuring how long an answer took. Without a
    ``webhook`` the service takes no notices of the registry; without ``traces`` it makes none;
    without a ``shadow`` no challenger ranks there; without ``warming`` nobody is read ahead.
    ``online_is_down`` says whether the online store is being left alone, ``online_is_lost`` whether
    it came back empty. ``begun`` is called once everything is in memory.
    """

    recommender: Recommender
    index: IndexSlot
    models: ModelSlot
    freshness: Freshness
    decisions: DecisionLog
    inbox: Inbox
    metrics: Metrics
    background: Background
    clock: Clock
    timer: Callable[[], float]
    keys: Keys
    limits: Limits
    webhook: Webhook | None = None
    traces: Traces | None = None
    policies: Policies = field(default_factory=Policies)
    experiment: Experiment = field(default_factory=Experiment)
    shadow: Shadow | None = None
    warming: Prefetch | None = None
    online_is_down: Callable[[], bool] = lambda: False
    begun: Callable[[], None] = lambda: None
    online_is_lost: Callable[[], bool] = lambda: False
