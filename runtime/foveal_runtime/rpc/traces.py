"""OpenTelemetry traces of calls and of the stages of their studies, sent to a collector that somebody named. Off by default.

A span holds the call's method and status, the caller's address and the request id; a study's span holds times and sizes. No
value of a study, no id of a study and no message of an error's cause is among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foveal_runtime import __version__
from foveal_runtime.errors import ConfigError, FovealError
from foveal_runtime.rpc import request_id

if TYPE_CHECKING:
    from foveal_runtime.engine.grading import Grades
    from foveal_runtime.serving.request import Answer


class Traces:
    """One server's spans, and where they are sent."""

    def __init__(self, endpoint: str) -> None:
        """Args:
        endpoint: http://HOST:PORT or https://HOST:PORT of a collector that takes OTLP over gRPC.

        Raises:
            ConfigError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise ConfigError(f"--traces needs {error.name!r}, which is not installed; install foveal[otel]") from None
        # Named here and not taken from the environment: a server says nothing of its machine beyond this.
        resource = Resource({"service.name": "foveal", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("foveal", __version__)

    def interceptor(self) -> Any:
        """Begins a span for every call, within the caller's where it sent one (W3C trace context)."""
        from opentelemetry.instrumentation.grpc import aio_server_interceptor

        return aio_server_interceptor(tracer_provider=self._provider)

    @contextmanager
    def call(self, method: str, headers: Mapping[str, str], caller: str) -> Iterator[Callable[[str], None]]:
        """A span for a call that does not come over gRPC, within the caller's.

        Args:
            method: gRPC's name of the call.
            headers: of the request, by lower-case name.
            caller: its address.

        Yields:
            What tells that the call failed, by gRPC's name of its status.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        within = TraceContextTextMapPropagator().extract(headers)
        with self._tracer.start_as_current_span(method, context=within, kind=SpanKind.SERVER) as span:
            span.set_attribute("client.address", caller)
            yield lambda code: span.set_status(Status(StatusCode.ERROR, code))

    def answered(self, answer: Answer | FovealError) -> None:
        """A span for a study, and below it one for each stage, by the times that the answer tells."""
        from opentelemetry.trace import Status, StatusCode, get_current_span, set_span_in_context

        ended = time.time_ns()
        name = request_id.current()
        get_current_span().set_attribute("foveal.request_id", name)
        if isinstance(answer, FovealError):
            span = self._tracer.start_span("study", start_time=ended)
            span.set_status(Status(StatusCode.ERROR, answer.reason))
            span.end(ended)
            return
        outcome = answer.outcome
        stages = {} if answer.cached else {"queue": answer.queue_ms, "prepare": outcome.prepare_ms, **outcome.graph_ms}
        began = ended - round(sum(stages.values()) * 1e6)
        span = self._tracer.start_span("study", start_time=began)
        span.set_attribute("foveal.cached", answer.cached)
        if not answer.cached:
            span.set_attribute("foveal.batch_studies", outcome.batch_size)
        within = set_span_in_context(span)
        for stage, milliseconds in stages.items():
            child = self._tracer.start_span(stage, context=within, start_time=began)
            began += round(milliseconds * 1e6)
            child.end(began)
        span.end(ended)

    def graded(self, grades: Grades) -> None:
        """Nothing: a grade is a value of a patient."""

    def close(self) -> None:
        """Send what is left; takes seconds when the collector is gone."""
        self._provider.shutdown()
