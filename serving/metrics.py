"""What Prometheus sees of the service. No label carries anything about a user."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from serving.decisions import DecisionLog
from serving.model import Ranker
from serving.schemas import EventReceipt, RecommendationAnswer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters and histograms of one service, in a registry of their own."""

    def __init__(self, decisions: DecisionLog, ranker: Callable[[], Ranker]) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_State(decisions, ranker))
        self._seconds = Histogram(
            "clipwise_request_seconds",
            "Time from a request's arrival to its answer.",
            ("route", "status"),
            buckets=_SECONDS,
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
        self._events = Counter("clipwise_events", "Events sent.", ("outcome",), registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request by the route's template, never by the path that came."""
        self._seconds.labels(route, str(status)).observe(seconds)

    def answer(self, answer: RecommendationAnswer) -> None:
        """Count what an answer shows and what was removed for it."""
        self._shown.inc(len(answer.recommendations))
        self._cold.inc(answer.cold_start)
        for rule, count in answer.removed.items():
            self._removed.labels(rule).inc(count)
        for view in answer.stale_features:
            self._stale.labels(view).inc()

    def events(self, receipt: EventReceipt) -> None:
        """Count what became of a batch of events."""
        self._events.labels("accepted").inc(receipt.accepted)
        self._events.labels("duplicate").inc(receipt.duplicate)
        self._events.labels("rejected").inc(receipt.rejected)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _State:
    """Reads at each scrape what others count or hold."""

    def __init__(self, decisions: DecisionLog, ranker: Callable[[], Ranker]) -> None:
        self._decisions = decisions
        self._ranker = ranker

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        yield CounterMetricFamily(
            "clipwise_decisions_dropped", "Decisions lost.", value=self._decisions.dropped
        )
        yield CounterMetricFamily(
            "clipwise_decisions_written", "Decisions in a file.", value=self._decisions.written
        )
        ranker = self._ranker()
        model = GaugeMetricFamily(
            "clipwise_model_info", "The ranker in use.", labels=("name", "version")
        )
        model.add_metric((ranker.name, ranker.version), 1)
        yield model
