"""OpenTelemetry traces: a span a request with one below it for each stage.

Configured by OpenTelemetry's own variables, of which ``OTEL_EXPORTER_OTLP_ENDPOINT`` or the one for
traces alone must be set; nothing of it is imported otherwise. No span carries anything of a user.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.telemetry.stages import MeteredTimer

_CLOSE_SECONDS = 2.0


class Traces:
    """Makes spans with a tracer provider's tracer, as parts of the trace a caller began."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("clipwise.serving")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(
        self, method: str, route: str, headers: dict[bytes, bytes], request_id: str
    ) -> Iterator[Any]:
        """The span of a request, current while it is answered."""
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

    def set_status(self, span: Any, status: int) -> None:
        """Note a request's status; from 500 on the span is an error."""
        from opentelemetry.trace import StatusCode

        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def stages(self, watch: MeteredTimer) -> None:
        """A span for each stage; the stopwatch's nanoseconds are Unix time."""
        for lap in watch.laps:
            span = self._tracer.start_span(lap.stage, start_time=lap.begun)
            span.end(end_time=lap.ended)

    def close(self) -> None:
        """Send what waits, for at most two seconds: a collector that is down holds up nobody."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)


def otlp_traces() -> Traces:
    """Traces sent over OTLP/HTTP to the collector that the environment names."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
