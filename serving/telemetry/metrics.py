"""Prometheus metrics of the service. No label contains data of a user.

Every metric is a counter, a gauge or a histogram of one worker. Workers that start with the same
empty folder in ``PROMETHEUS_MULTIPROC_DIR`` each show the sum of all.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

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

# The library decides at its import. The variable alone is no proof, because Feast sets it later.
_SHARED = ValueClass is not MutexValue

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STAGE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, *_SECONDS)
_MAX_TIMERS = 1_000
"""Recommendations that are counted together, because one by one each would wait for it."""

_CANDIDATES = (0, 1, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class Metrics:
    """Counters and histograms of one service, in their own registry.

    ``rankers`` returns the versions in use, by the key of their ranker.
    """

    def __init__(
        self,
        decisions: DecisionLog,
        rankers: Callable[[], Mapping[str, Ranker]],
        shadow: Shadow | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._decisions = decisions
        self._rankers = rankers
        self._shadow = shadow
        self._models = rankers()
        self._timers: deque[MeteredTimer] = deque()
        self._collecting = threading.Lock()
        self._counted = dict.fromkeys(("dropped", "written", "lines", "skipped"), 0)
        self._add_request_metrics()
        self._add_answer_metrics()
        self._add_state_metrics()

    def _add_request_metrics(self) -> None:
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

    def _add_answer_metrics(self) -> None:
        registry = self._registry
        self._answers = Counter(
            "clipwise_answers",
            "Answers, by the ranker of their scores.",
            ("ranker", "name", "version"),
            registry=registry,
        )
        self._shown = Counter(
            "clipwise_coupons_shown", "Coupons in the answers.", registry=registry
        )
        self._removed = Counter(
            "clipwise_candidates_removed",
            "Candidates that a rule removed.",
            ("rule",),
            registry=registry,
        )
        self._cold = Counter("clipwise_cold_starts", "Answers to unknown users.", registry=registry)
        self._stale = Counter(
            "clipwise_stale_features", "Answers from a stale view.", ("view",), registry=registry
        )
        degraded = Counter(
            "clipwise_degraded",
            "Degraded answers, by what they lack.",
            ("kind",),
            registry=registry,
        )
        self._degraded = {kind: degraded.labels(kind) for kind in KINDS}
        self._events = Counter(
            "clipwise_events", "Events, by outcome.", ("outcome",), registry=registry
        )

    def _add_state_metrics(self) -> None:
        registry = self._registry
        self._dropped = Counter(
            "clipwise_decisions_dropped", "Decisions missing from the log.", registry=registry
        )
        self._written = Counter(
            "clipwise_decisions_written", "Decisions written to a file.", registry=registry
        )
        self._skipped = Counter(
            "clipwise_shadow_skipped",
            "Requests that the challenger did not rank in shadow.",
            registry=registry,
        )
        self._lines = Counter(
            "clipwise_log_lines_dropped",
            "Log lines dropped because the reader was too slow.",
            registry=registry,
        )
        self._swaps = Counter(
            "clipwise_model_swaps", "Changes of model.", ("ranker",), registry=registry
        )
        self._info = Gauge(
            "clipwise_model_info",
            "The model in use, with the number of workers that use it.",
            ("ranker", "name", "version"),
            multiprocess_mode="livesum",
            registry=registry,
        )
        for key, model in self._models.items():
            self._swaps.labels(key)
            self._info.labels(key, model.name, model.version).set(1)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request by its route's path template, never by the path that was sent."""
        found = self._seconds_of.get((route, status))
        if found is None:
            found = self._seconds_of[route, status] = self._seconds.labels(route, str(status))
        found.observe(seconds)

    def record_stages(self, timer: MeteredTimer) -> None:
        """Queues a recommendation's candidate count and stage times for ``collect``."""
        self._timers.append(timer)
        if len(self._timers) >= _MAX_TIMERS:
            self._count_timers()

    def _count_timers(self) -> None:
        while self._timers:
            try:
                timer = self._timers.popleft()
            except IndexError:
                # Another thread took the last one.
                return
            self._candidates.observe(timer.candidate_count)
            for lap in timer.laps:
                self._stages[lap.stage].observe((lap.end - lap.start) / 1e9)

    def answer(
        self, ranker: str, answer: RecommendationAnswer, degraded: Sequence[str] = ()
    ) -> None:
        """Counts an answer: its coupons, the removed candidates, and its kinds of degradation.

        ``ranker`` is the key of the ranker of its placement.
        """
        for kind in degraded:
            self._degraded[kind].inc()
        self._answers.labels(ranker, answer.model.name, answer.model.version).inc()
        self._shown.inc(len(answer.recommendations))
        if answer.cold_start:
            self._cold.inc()
        for rule, count in answer.removed.items():
            self._removed.labels(rule).inc(count)
        for view in answer.stale_features:
            self._stale.labels(view).inc()

    def events(self, receipt: EventReceipt) -> None:
        """Counts the events of a batch by outcome."""
        self._events.labels("accepted").inc(receipt.accepted)
        self._events.labels("duplicate").inc(receipt.duplicate)
        self._events.labels("rejected").inc(receipt.rejected)

    def collect(self) -> None:
        """Adds queued stage times and the counts that other parts keep. Call it regularly.

        Concurrent calls count everything once.
        """
        with self._collecting:
            self._collect()

    def _collect(self) -> None:
        self._count_timers()
        self._catch_up("dropped", self._decisions.dropped, self._dropped)
        self._catch_up("written", self._decisions.written, self._written)
        self._catch_up("lines", dropped_lines(), self._lines)
        if self._shadow is not None:
            self._catch_up("skipped", self._shadow.skipped, self._skipped)
        before, self._models = self._models, self._rankers()
        for key, model in self._models.items():
            if model is not before[key]:
                self._swaps.labels(key).inc()
                self._info.labels(key, before[key].name, before[key].version).set(0)
                self._info.labels(key, model.name, model.version).set(1)

    def text(self) -> bytes:
        """Returns all metrics in the text format of Prometheus."""
        self.collect()
        if not _SHARED:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # it has no annotations
        return generate_latest(merged)

    def _catch_up(self, name: str, total: int, counter: Counter) -> None:
        counter.inc(total - self._counted[name])
        self._counted[name] = total
