"""OpenTelemetry traces: one span per request, with a child span for each stage.

OpenTelemetry's own variables configure them. ``OTEL_EXPORTER_OTLP_ENDPOINT``, or the variable for
traces alone, must be set; otherwise nothing of OpenTelemetry is imported. No span contains data of
a user.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.telemetry.stages import MeteredTimer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_CLOSE_SECONDS = 2.0


class Traces:
    """Creates the spans of requests, as children of the client's span if it sent one."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("clipwise.serving")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(
        self, method: str, route: str, headers: dict[bytes, bytes], request_id: str
    ) -> Iterator["Span"]:
        """Opens the span of a request, which is the current span inside the block.

        The headers ``traceparent`` and ``tracestate`` (W3C Trace Context) name the parent.
        """
        from opentelemetry.trace import SpanKind

        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "clipwise.request_id": request_id,
            },
            record_exception=False,
        ) as span:
            yield span

    def set_status(self, span: "Span", status: int) -> None:
        """Sets the HTTP status of a request's span; from 500 on the span is an error."""
        from opentelemetry.trace import StatusCode

        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def record_stages(self, timer: MeteredTimer) -> None:
        """Creates a span for each stage. The timer's nanoseconds must be Unix time."""
        for lap in timer.laps:
            span = self._tracer.start_span(lap.stage, start_time=lap.start)
            span.end(end_time=lap.end)

    def close(self) -> None:
        """Sends the remaining spans, for at most two seconds if the collector is down."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def otlp_traces() -> Traces:
    """Returns traces that are sent by OTLP over HTTP to the collector in the environment."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
