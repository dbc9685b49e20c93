"""The id, log line, headers and trace of every request."""

import io
import json
import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.telemetry.logs import JsonLines, NonBlockingLines
from serving.telemetry.stages import STAGES, MeteredTimer
from serving.telemetry.traces import Traces
from tests.support.serving_services import ASK, assert_problem, call, get, service


def named(name: str | None) -> tuple:
    headers = {} if name is None else {"X-Request-ID": name.encode("latin-1")}
    return ("POST", "/v1/recommendations", {"json": ASK, "headers": headers})


def test_request_id_of_the_client_is_kept():
    (answer,) = call(service(), named("shop-17:a.b_c"))
    assert answer.headers["x-request-id"] == "shop-17:a.b_c"


@pytest.mark.parametrize("name", [None, "", "-a", "a b", "a/b", "../x", "a" * 129, "\u00e9", '"'])
def test_request_id_that_could_do_harm_is_replaced(name):
    (answer,) = call(service(), named(name))
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32 and answer.headers["x-request-id"].isalnum()


def test_every_answer_is_data_that_no_browser_runs():
    requests = [("GET", path, {}) for path in ("/healthz", "/nowhere", "/openapi.json", "/docs")]
    for answer in call(service(), *requests):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_page_runs_its_own_script_and_no_other():
    policy = get(service(), "/docs").headers["content-security-policy"]
    (scripts,) = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert "'sha256-" in scripts and "unsafe" not in scripts


def test_request_from_another_site_in_a_browser_is_refused():
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    (preflight, posted) = call(
        service(),
        ("OPTIONS", "/v1/recommendations", {"headers": headers}),
        (
            "POST",
            "/v1/events",
            {"content": b'{"events": []}', "headers": {"content-type": "text/plain"}},
        ),
    )
    assert_problem(preflight, 405)
    assert_problem(posted, 422)


def test_failure_is_one_log_line_with_its_place_and_without_its_message():
    stream = io.StringIO()
    handler = NonBlockingLines(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger("serving")
    root.addHandler(handler)
    try:
        (answer,) = call(service(broken=True), named("r-1"))
    finally:
        root.removeHandler(handler)
        handler.close()
    assert_problem(answer, 500)
    assert answer.headers["x-request-id"] == "r-1"
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (failed,) = [line for line in lines if line["level"] == "error"]
    assert failed["request_id"] == "r-1" and failed["error"] == "builtins.TypeError"
    assert any("recommender.py" in frame for frame in failed["trace"])
    assert "hand a user" not in stream.getvalue()


@pytest.fixture
def spans():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, Traces(provider)


def test_trace_of_the_client_contains_a_span_for_each_stage(spans):
    exporter, traces = spans
    ticks = iter(range(100))

    def timer() -> MeteredTimer:
        return MeteredTimer(lambda: next(ticks), [traces.record_stages])

    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"traceparent": caller, "x-request-id": "r-1"}
    call(
        service(traces=traces, timer=timer),
        ("POST", "/v1/recommendations?user=900", {"json": ASK, "headers": headers}),
    )
    *stages, request = exporter.get_finished_spans()
    assert [span.name for span in stages] == list(STAGES)
    assert request.name == "POST /v1/recommendations"
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert {span.parent.span_id for span in stages} == {request.context.span_id}
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/recommendations",
        "http.response.status_code": 200,
        "clipwise.request_id": "r-1",
    }
    assert all(not span.attributes for span in stages)


def test_global_provider_of_another_library_gets_no_spans(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    call(service(), ("POST", "/v1/recommendations?user=900", {"json": ASK}))
    assert exporter.get_finished_spans() == ()


def test_failed_request_is_a_failed_span_without_its_message(spans):
    exporter, traces = spans
    call(service(broken=True, traces=traces), named(None))
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code.name == "ERROR" and not span.events
    assert span.attributes["http.response.status_code"] == 500
