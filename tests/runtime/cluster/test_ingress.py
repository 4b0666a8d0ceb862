"""What a proxy does around Ray: real gRPC on loopback, with a stand-in for Ray, which replaces what answers a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

from foveal_runtime._proto import admin_pb2, archive_pb2, open_inference_grpc_pb2, screening_pb2
from foveal_runtime.client.channel import open_aio_channel
from foveal_runtime.cluster.calls import LEFT_KEY, RayCall, Refused
from foveal_runtime.cluster.ingress import PASSED_ON, Ingress
from foveal_runtime.errors import InputError, OverloadedError
from foveal_runtime.rpc.status import status_of

CONTRACT = [
    f"/{service.full_name}/{method.name}"
    for file in (screening_pb2, archive_pb2, admin_pb2, open_inference_grpc_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
GRADE = "/foveal.v1.Screening/Grade"


class Ray:
    """Stands for Ray Serve: answers with `answer`, and remembers the context that it was shown."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []
        self.requests: list[bytes] = []
        self.peers: list[str] = []
        self.code: Any = grpc.StatusCode.OK
        self.details = ""
        self.trailing: list[tuple[str, Any]] = []

    async def __call__(self, request: bytes, context: Any) -> bytes:
        self.contexts.append(context)
        self.requests.append(request)
        self.peers.append(context.peer())  # of grpc's call, which is freed when it ends
        context.set_code(self.code)
        context.set_details(self.details)
        context.set_trailing_metadata([("request_id", "ray's"), *self.trailing])
        return b"answer" if self.code is grpc.StatusCode.OK else b""


@pytest.fixture
async def ray() -> Ray:
    return Ray()


@pytest.fixture
async def channel(ray: Ray) -> AsyncIterator[Any]:
    ingress = Ingress()
    ingress._method_handlers = {
        name: handler._replace(response_serializer=None, unary_unary=ray) for name, handler in ingress._method_handlers.items()
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ingress,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_aio_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


async def test_a_message_passes_unread_with_our_metadata_alone(ray: Ray, channel: Any) -> None:
    call = channel.unary_unary(GRADE)
    sent = (
        ("authorization", "Bearer x"),
        ("x-request-id", "visit-7"),
        ("application", "another"),
        ("multiplexed_model_id", "m"),
        (LEFT_KEY, "1e9"),
    )
    answering = call(b"\xff not a message", metadata=sent, timeout=30)
    assert dict(await answering.initial_metadata())["x-request-id"] == "visit-7"
    assert await answering == b"answer"
    assert ray.requests == [b"\xff not a message"]
    found = dict(ray.contexts[0].invocation_metadata())
    assert set(found) == {"authorization", "x-request-id", "request_id", LEFT_KEY}
    assert 20 < float(found[LEFT_KEY]) <= 30.1, "gRPC sends what is left in tenths of a second, rounded up"
    assert ray.peers[0].startswith("ipv4:127.0.0.1")


async def test_a_call_without_a_deadline_has_none_in_the_replica(ray: Ray, channel: Any) -> None:
    await channel.unary_unary(GRADE)(b"")
    assert RayCall(ray.contexts[0]).time_remaining() is None


@pytest.mark.parametrize("method", [name for name in CONTRACT if name not in PASSED_ON])
async def test_what_is_not_offered_says_where_it_is(channel: Any, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(method)(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "`foveal serve" in refused.value.details() or "`serve status`" in refused.value.details()
    rich = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"NOT_OFFERED" in rich


async def test_a_replicas_refusal_goes_out_as_it_is(ray: Ray, channel: Any) -> None:
    status = rpc_status.to_status(status_of(InputError("request has 0 studies; send one")))
    ray.code, ray.details, ray.trailing = status.code, status.details, list(status.trailing_metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(GRADE)(b"")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "request has 0 studies; send one"
    assert dict(refused.value.trailing_metadata())["grpc-status-details-bin"] == status.trailing_metadata[0][1]


@pytest.mark.parametrize(
    ("code", "answered", "reason"),
    [
        (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),  # the replica died
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, "LOADING"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError.reason),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE"),
    ],
)
async def test_rays_own_statuses_become_ours(ray: Ray, channel: Any, code: Any, answered: Any, reason: str) -> None:
    ray.code, ray.details = code, 'Traceback: note="secret"'
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(GRADE)(b"")
    assert refused.value.code() is answered
    assert "secret" not in refused.value.details()
    rich = rpc_status.status_pb2.Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info)
    assert info.reason == reason
    assert rich.code == code_pb2.Code.Value(answered.name)


async def test_a_refusal_is_told_to_ray_with_all_its_details(ray: Ray, channel: Any) -> None:
    await channel.unary_unary(GRADE)(b"")
    call = RayCall(ray.contexts[0])
    status = rpc_status.to_status(status_of(OverloadedError("full; send again later")))
    with pytest.raises(Refused) as refused:
        await call.abort_with_status(status)
    call.answer_refused(refused.value)
    assert ray.contexts[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(ray.contexts[0].trailing_metadata())["grpc-status-details-bin"] == status.trailing_metadata[0][1]
