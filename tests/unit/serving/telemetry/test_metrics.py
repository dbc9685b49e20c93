"""Prometheus metrics: each count once, and by the right label."""

import threading
import time

import pytest

from serving.schemas.event import EventReceipt
from serving.telemetry.metrics import Metrics
from serving.telemetry.stages import STAGES, MeteredTimer
from tests.support.serving_fakes import FakeLog, FakeRanker


def rankers() -> dict[str, FakeRanker]:
    return {"home": FakeRanker()}


def lines(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


class Slow(int):
    """A count whose subtraction takes 50 ms."""

    def __sub__(self, other: int) -> int:
        time.sleep(0.05)
        return int(self) - other


@pytest.fixture
def log():
    return FakeLog()


def test_stages_and_candidates_of_a_recommendation_are_counted(log):
    metrics, ticks = Metrics(log, rankers), iter(range(0, 10**9, 1_000_000))
    timer = MeteredTimer(lambda: next(ticks), [metrics.record_stages])
    timer.candidates(120)
    for stage in STAGES:
        timer.lap(stage)
    timer.finish()
    found = lines(metrics)
    for stage in STAGES:
        assert f'clipwise_stage_seconds_sum{{stage="{stage}"}} 0.001' in found
    assert 'clipwise_candidates_bucket{le="100.0"} 0.0' in found
    assert 'clipwise_candidates_bucket{le="300.0"} 1.0' in found


def test_dropped_decisions_are_counted_once(log):
    metrics = Metrics(log, rankers)
    log.dropped, log.written = 3, 5
    lines(metrics)
    log.dropped = 4
    found = lines(metrics)
    assert "clipwise_decisions_dropped_total 4.0" in found
    assert "clipwise_decisions_written_total 5.0" in found
    assert "clipwise_log_lines_dropped_total 0.0" in found


def test_concurrent_collections_count_a_drop_once(log):
    metrics = Metrics(log, rankers)
    log.dropped = Slow(3)
    collecting = [threading.Thread(target=metrics.collect) for _ in range(2)]
    for thread in collecting:
        thread.start()
    for thread in collecting:
        thread.join()
    assert "clipwise_decisions_dropped_total 3.0" in lines(metrics)


def test_swap_is_counted_for_its_ranker_and_the_gauge_names_the_new_model(log):
    models = {"home": FakeRanker("7"), "checkout": FakeRanker("7", "checkout_ranker")}
    metrics = Metrics(log, lambda: dict(models))
    metrics.collect()
    assert 'clipwise_model_swaps_total{ranker="home"} 0.0' in lines(metrics)
    models["home"] = FakeRanker("8")
    found = lines(metrics)
    assert 'clipwise_model_swaps_total{ranker="home"} 1.0' in found
    assert 'clipwise_model_swaps_total{ranker="checkout"} 0.0' in found
    for ranker, version, count in (("home", 8, 1.0), ("home", 7, 0.0), ("checkout", 7, 1.0)):
        labels = f'name="{ranker}_ranker",ranker="{ranker}",version="{version}"'
        assert f"clipwise_model_info{{{labels}}} {count}" in found


def test_events_are_counted_by_outcome(log):
    metrics = Metrics(log, rankers)
    metrics.events(EventReceipt(accepted=2, duplicate=1, rejected=0, rejections=()))
    assert 'clipwise_events_total{outcome="accepted"} 2.0' in lines(metrics)
    assert 'clipwise_events_total{outcome="duplicate"} 1.0' in lines(metrics)
