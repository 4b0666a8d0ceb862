"""Traces go to the collector that was named, in the caller's trace, and hold no value of a study."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.config import ServeConfig

collector_pb2 = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
collector_grpc = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")


class Collector(collector_grpc.TraceServiceServicer):  # type: ignore[misc]
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.told = threading.Event()

    def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.told.set()
        return collector_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Any]:
        return [span for r in self.requests for resource in r.resource_spans for s in resource.scope_spans for span in s.spans]


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    server = grpc.server(ThreadPoolExecutor(2))
    kept = Collector()
    collector_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(0)


def test_a_call_and_its_studies_are_traced_and_no_value_of_them(bundle_path: Path, collector: tuple[Collector, str]) -> None:
    kept, endpoint = collector
    trace = "0af7651916cd43dd8448eb211c80319c"
    with RunningServer(bundle_path, "--traces", endpoint) as server, open_channel(server.address) as channel:
        stub = screening_pb2_grpc.ScreeningStub(channel)
        study = study_pb2.Study(id="patient-4711", note="secret words", image=study_pb2.Image(encoded=photograph(1)))
        bad = study_pb2.Study(id="patient-4712", image=study_pb2.Image(encoded=b"no photograph"))
        metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-01"), ("x-request-id", "visit-1"))
        stub.Grade(screening_pb2.GradeRequest(studies=[study, bad]), metadata=metadata)
        stub.Grade(screening_pb2.GradeRequest(studies=[study]))
        with pytest.raises(grpc.RpcError):
            stub.Grade(screening_pb2.GradeRequest())
        stream = stub.GradeStream(iter([screening_pb2.GradeStreamRequest(study=study)]))
        assert len(list(stream)) == 1
    spans = kept.spans
    calls = [span for span in spans if span.name.endswith("/Grade")]
    assert len(calls) == 3
    assert len([span for span in spans if span.name.endswith("/GradeStream")]) == 1
    first = next(span for span in calls if span.trace_id.hex() == trace)
    assert first.parent_span_id.hex() == "b7ad6b7169203331"
    assert {a.key: a.value.string_value for a in first.attributes}["foveal.request_id"] == "visit-1"
    studies = [span for span in spans if span.name == "study" and span.parent_span_id == first.span_id]
    assert len(studies) == 2
    stages = {span.name for span in spans if span.parent_span_id in {study.span_id for study in studies}}
    assert {"queue", "prepare", "image", "text", "fusion"} <= stages
    cached = [a.value.bool_value for s in spans if s.name == "study" for a in s.attributes if a.key == "foveal.cached"]
    assert cached.count(True) == 2  # the same study again, alone and in the stream
    text = "".join(str(request) for request in kept.requests)
    for secret in ("patient-4711", "patient-4712", "secret", "no photograph"):
        assert secret not in text


def test_a_call_over_http_is_traced_alike(bundle_path: Path, collector: tuple[Collector, str]) -> None:
    kept, endpoint = collector
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "visit-1"}
    with RunningServer(bundle_path, "--traces", endpoint, "--http", "127.0.0.1:0") as server:
        body = {"studies": [{"id": "patient-4711", "note": "secret words"}]}
        assert httpx.post(f"{server.http}/v1/grade", json=body, headers=headers).status_code == 200
        assert httpx.post(f"{server.http}/v1/grade", json={}).status_code == 400
    first, second = (span for span in kept.spans if span.name == "foveal.v1.Screening/Grade")
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (trace, "b7ad6b7169203331")
    told = {a.key: a.value.string_value for a in first.attributes}
    assert (told["foveal.request_id"], told["client.address"].rpartition(":")[0]) == ("visit-1", "ipv4:127.0.0.1")
    assert [span.parent_span_id for span in kept.spans if span.name == "study"] == [first.span_id]
    assert second.status.message == "INVALID_ARGUMENT"
    text = "".join(str(request) for request in kept.requests)
    assert "patient-4711" not in text
    assert "secret" not in text


def test_a_collector_that_is_gone_holds_up_no_call(bundle_path: Path) -> None:
    # Of what is left at the end the exporter tries to be rid for ten seconds, unless told otherwise.
    env = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with RunningServer(bundle_path, "--traces", "http://127.0.0.1:9", env=env) as server, server.client() as client:
        assert client.model().workers == 1


@pytest.mark.parametrize("traces", ["127.0.0.1:4317", "ftp://127.0.0.1:4317", "http://collector", "http://10.0.0.1:4317"])
def test_where_traces_would_go_has_to_be_a_collector_and_not_in_plain_text_beyond_this_machine(traces: str) -> None:
    with pytest.raises(ConfigError, match="traces"):
        ServeConfig(bundle=Path("b"), traces=traces)
    assert ServeConfig(bundle=Path("b"), traces="https://10.0.0.1:4317").traces
