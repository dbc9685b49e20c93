"""What Prometheus sees of the service. No label carries anything about a user.

Every figure is a counter, a gauge or a histogram of one worker. Those of several workers add up:
with the same empty folder in ``PROMETHEUS_MULTIPROC_DIR`` when they start, each shows the sum.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MutexValue, ValueClass

from serving.decisions.log import DecisionLog
from serving.decisions.shadow import Shadow
from serving.models.rankers import Ranker
from serving.schemas.degradation import KINDS
from serving.schemas.event import EventReceipt
from serving.schemas.recommendation import RecommendationAnswer
from serving.telemetry.logs import dropped_lines
from serving.telemetry.stages import STAGES, MeteredTimer

# Decided when the library is imported. The variable alone says nothing: Feast sets it later on.
_SHARED = ValueClass is not MutexValue

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STAGE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, *_SECONDS)
_MOST_WATCHES = 1_000
"""So many recommendations are counted together, so that none waits for it."""
_CANDIDATES = (0, 1, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class Metrics:
    """Counters and histograms of one service, in a registry of their own."""

    def __init__(
        self, decisions: DecisionLog, ranker: Callable[[], Ranker], shadow: Shadow | None = None
    ) -> None:
        self._registry = CollectorRegistry()
        self._decisions = decisions
        self._ranker = ranker
        self._shadow = shadow
        self._model = ranker()
        self._watches: deque[MeteredTimer] = deque()
        self._looking = threading.Lock()
        self._counted = dict.fromkeys(("dropped", "written", "lines", "skipped"), 0)
        self._count_requests()
        self._count_answers()
        self._count_state()

    def _count_requests(self) -> None:
        registry = self._registry
        self._seconds_of: dict[tuple[str, int], Histogram] = {}
        self._seconds = Histogram(
            "clipwise_request_seconds",
            "Time from a request's arrival to its answer.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        stages = Histogram(
            "clipwise_stage_seconds",
            "Time that a stage of a recommendation took.",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._candidates = Histogram(
            "clipwise_candidates",
            "Coupons that can reach the user of a request, before the rules.",
            buckets=_CANDIDATES,
            registry=registry,
        )

    def _count_answers(self) -> None:
        registry = self._registry
        self._answers = Counter(
            "clipwise_answers",
            "Answers by the ranker that made their scores.",
            ("name", "version"),
            registry=registry,
        )
        self._shown = Counter(
            "clipwise_coupons_shown", "Coupons in the answers.", registry=registry
        )
        self._removed = Counter(
            "clipwise_candidates_removed",
            "Candidates a rule removed.",
            ("rule",),
            registry=registry,
        )
        self._cold = Counter("clipwise_cold_starts", "Unknown users.", registry=registry)
        self._stale = Counter(
            "clipwise_stale_features", "Answers from a stale view.", ("view",), registry=registry
        )
        degraded = Counter(
            "clipwise_degraded",
            "Answers that are less than they could be.",
            ("kind",),
            registry=registry,
        )
        self._degraded = {kind: degraded.labels(kind) for kind in KINDS}
        self._events = Counter("clipwise_events", "Events sent.", ("outcome",), registry=registry)

    def _count_state(self) -> None:
        registry = self._registry
        self._lost = Counter("clipwise_decisions_dropped", "Decisions lost.", registry=registry)
        self._kept = Counter(
            "clipwise_decisions_written", "Decisions in a file.", registry=registry
        )
        self._skipped = Counter(
            "clipwise_shadow_skipped", "Requests the challenger did not see.", registry=registry
        )
        self._lines = Counter(
            "clipwise_log_lines_dropped", "Log lines that nobody took.", registry=registry
        )
        self._swaps = Counter("clipwise_model_swaps", "Changes of ranker.", registry=registry)
        self._info = Gauge(
            "clipwise_model_info",
            "The ranker in use: how many workers rank by it.",
            ("name", "version"),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._info.labels(self._model.name, self._model.version).set(1)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request by the route's template, never by the path that came."""
        found = self._seconds_of.get((route, status))
        if found is None:
            found = self._seconds_of[route, status] = self._seconds.labels(route, str(status))
        found.observe(seconds)

    def watched(self, watch: MeteredTimer) -> None:
        """Count a recommendation's candidates and how long its stages took, at the next look."""
        self._watches.append(watch)
        if len(self._watches) >= _MOST_WATCHES:
            self._count_watches()

    def _count_watches(self) -> None:
        while self._watches:
            try:
                watch = self._watches.popleft()
            except IndexError:
                # Another thread was faster.
                return
            self._candidates.observe(watch.candidate_count)
            for lap in watch.laps:
                self._stages[lap.stage].observe((lap.ended - lap.begun) / 1e9)

    def answer(self, answer: RecommendationAnswer, degraded: Sequence[str] = ()) -> None:
        """Count what an answer shows, what was removed for it, and in which ways it lacks."""
        for kind in degraded:
            self._degraded[kind].inc()
        self._answers.labels(answer.model.name, answer.model.version).inc()
        self._shown.inc(len(answer.recommendations))
        if answer.cold_start:
            self._cold.inc()
        for rule, count in answer.removed.items():
            self._removed.labels(rule).inc(count)
        for view in answer.stale_features:
            self._stale.labels(view).inc()

    def events(self, receipt: EventReceipt) -> None:
        """Count what became of a batch of events."""
        self._events.labels("accepted").inc(receipt.accepted)
        self._events.labels("duplicate").inc(receipt.duplicate)
        self._events.labels("rejected").inc(receipt.rejected)

    def look(self) -> None:
        """Count what others hold or count themselves, each once. Call it every few seconds."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        self._count_watches()
        self._catch_up("dropped", self._decisions.dropped, self._lost)
        self._catch_up("written", self._decisions.written, self._kept)
        self._catch_up("lines", dropped_lines(), self._lines)
        if self._shadow is not None:
            self._catch_up("skipped", self._shadow.skipped, self._skipped)
        before, self._model = self._model, self._ranker()
        if self._model is not before:
            self._swaps.inc()
            self._info.labels(before.name, before.version).set(0)
            self._info.labels(self._model.name, self._model.version).set(1)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        self.look()
        if not _SHARED:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)
        return generate_latest(everybody)

    def _catch_up(self, name: str, total: int, counter: Counter) -> None:
        counter.inc(total - self._counted[name])
        self._counted[name] = total
