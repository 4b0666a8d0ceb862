"""Which paths there are, and which call of the contract stands behind each: one table, read by the server, the OpenAPI document
and the test that asks every route with every role. A path names no patient: what concerns one is in bodies alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor  # type: ignore[import-untyped]

from foveal_runtime._proto import admin_pb2, archive_pb2, open_inference_grpc_pb2, screening_pb2

VERSION = "/v1"
_FILES = (screening_pb2, archive_pb2, admin_pb2)
SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
"""Of the contract."""
SHORT = {
    "/v1/grade": ("POST", "Screening/Grade"),
    "/v1/exam": ("POST", "Screening/GradeExam"),
    "/v1/embed": ("POST", "Screening/Embed"),
    "/v1/search": ("POST", "Archive/Search"),
    "/v1/model": ("GET", "Screening/GetModel"),
    "/v1/stats": ("GET", "Archive/Stats"),
    "/v1/status": ("GET", "Admin/GetStatus"),
    "/v1/drift": ("GET", "Admin/GetDrift"),
}
"""Second names of calls, for whoever types them. GET is for those that ask nothing and change nothing."""
INFERENCE = open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_MODEL = "/v2/models/{name}"
_OF_A_MODEL = (("GET", "", "ModelMetadata"), ("GET", "/ready", "ModelReady"), ("POST", "/infer", "ModelInfer"))
PROTOCOL = (
    ("GET", "/v2", "ServerMetadata"),
    *((verb, model + path, call) for model in (_MODEL, f"{_MODEL}/versions/{{version}}") for verb, path, call in _OF_A_MODEL),
)
"""Paths of the Open Inference Protocol, as it has them."""
OPEN = ("/healthz", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready")
"""GET; asked without a token by supervisors and by programs that write clients. They tell the contract and one word."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a call."""

    path: str
    verb: str
    call: MethodDescriptor
    is_short: bool

    @property
    def method(self) -> str:
        """gRPC's name of the call."""
        return f"/{self.call.containing_service.full_name}/{self.call.name}"


def calls() -> dict[str, MethodDescriptor]:
    """Calls of one message, by service and name as in `Screening/Grade`."""
    return {
        f"{service.name}/{call.name}": call
        for service in SERVICES
        for call in service.methods
        if not (call.client_streaming or call.server_streaming)
    }


def streams() -> tuple[str, ...]:
    """Paths that calls of many messages would have; they are offered over gRPC alone."""
    names = (f"{service.name}/{call.name}" for service in SERVICES for call in service.methods)
    return tuple(f"{VERSION}/{name}" for name in names if name not in calls())


def protocol_routes() -> Iterator[Route]:
    """Every path of the Open Inference Protocol."""
    for verb, path, name in PROTOCOL:
        yield Route(path, verb, INFERENCE.methods_by_name[name], True)


def routes() -> Iterator[Route]:
    """Every path of every call of the contract."""
    known = calls()
    for name, call in known.items():
        yield Route(f"{VERSION}/{name}", "POST", call, False)
    for path, (verb, name) in SHORT.items():
        yield Route(path, verb, known[name], True)
