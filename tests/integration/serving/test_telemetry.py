"""Traces sent to a collector, and metrics merged over workers."""

import http.server
import socket
import subprocess
import sys
import threading
import time

import pytest

from serving.telemetry.stages import MeteredTimer
from serving.telemetry.traces import otlp_traces


class _Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["content-length"])
        self.server.received.append((self.path, self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        return None


@pytest.fixture
def collector():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_traces_reach_the_collector_in_the_environment(collector, monkeypatch):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    url = f"http://127.0.0.1:{collector.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "clipwise")
    traces = otlp_traces()
    with traces.request("POST", "/v1/recommendations", {}, "r-1") as span:
        timer = MeteredTimer(lambda: 1, [traces.record_stages])
        timer.lap("score")
        timer.finish()
        traces.set_status(span, 200)
    traces.close()
    ((path, body),) = collector.received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    service = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert service["service.name"] == "clipwise"
    spans = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert spans == ["score", "POST /v1/recommendations"]


def test_collector_that_is_down_delays_neither_requests_nor_the_shutdown(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        start, traces = time.monotonic(), otlp_traces()
        for _ in range(1_000):
            with traces.request("POST", "/v1/recommendations", {}, "r") as span:
                traces.set_status(span, 200)
        traces.close()
    assert time.monotonic() - start < 10


_WORKER = """
from tests.support.serving_fakes import FakeLog, FakeRanker
from serving.telemetry.metrics import Metrics
metrics = Metrics(FakeLog(), lambda: {"home": FakeRanker()})
metrics.request("/v1/events", 200, 0.001)
print(metrics.text().decode())
"""


def test_workers_with_the_same_folder_show_the_sum(tmp_path):
    environ = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": ":".join(sys.path),
    }
    for workers in (1, 2, 3):
        done = subprocess.run(
            [sys.executable, "-c", _WORKER], env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        count = 'clipwise_request_seconds_count{route="/v1/events",status="200"}'
        assert f"{count} {workers}.0" in done.stdout.splitlines()
