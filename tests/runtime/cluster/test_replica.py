"""A replica answers as a server does: the same messages, refusals and details, by the same code. Real workers, no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundles import golden_studies, photograph, write_bundle
from grpc_health.v1 import health_pb2
from servers import RunningServer

from foveal_runtime._proto import screening_pb2
from foveal_runtime.client.channel import open_aio_channel
from foveal_runtime.cluster.calls import LEFT_KEY, NoAnswer
from foveal_runtime.cluster.replica import OFFERED, Replica
from foveal_runtime.cluster.replica_service import ScreeningReplica
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import BundleError, CheckFailed, FovealError
from foveal_runtime.rpc.messages import KIND_TO, study_to
from foveal_runtime.rpc.status import error_of
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.study.study import Study


class RayContext:
    """`RayServegRPCContext` has these methods."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = list(metadata)
        self.told: dict[str, Any] = {}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def auth_context(self) -> dict[str, Any]:
        return {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:4000"

    def set_code(self, code: Any) -> None:
        self.told["code"] = code

    def set_details(self, details: str) -> None:
        self.told["details"] = details

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.told["trailing"] = dict(metadata)

    def error(self) -> FovealError:
        from google.rpc import status_pb2

        return error_of(status_pb2.Status.FromString(self.told["trailing"]["grpc-status-details-bin"]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("replica") / "bundle")


@pytest.fixture(scope="module")
def config(bundle: Path) -> ServeConfig:
    return ServeConfig(bundle=bundle, max_studies=8, self_test_every_s=0)


@pytest.fixture
async def replica(config: ServeConfig) -> AsyncIterator[Replica]:
    opened = Replica(config, cpus=1)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[RunningServer]:
    with RunningServer(bundle, "--threads", "1", folder=bundle.parent, config="max_studies = 8") as running:
        yield running


def grade_request(*studies: Study) -> screening_pb2.GradeRequest:
    return screening_pb2.GradeRequest(studies=[study_to(study) for study in studies])


def without_timing(message: Any) -> Any:
    for result in message.results:
        for name in ("grade", "embedding"):
            if name in {field.name for field in result.DESCRIPTOR.fields} and result.HasField(name):
                getattr(result, name).ClearField("timing")
    return message


async def test_answers_are_the_servers(replica: Replica, server: RunningServer) -> None:
    studies = [*golden_studies()[:5], Study(image=b"no photograph"), Study()]
    graded = await replica.answer("Grade", grade_request(*studies).SerializeToString(), RayContext())
    kinds = [KIND_TO[VectorKind.IMAGE], KIND_TO[VectorKind.JOINT]]
    wanted = screening_pb2.EmbedRequest(studies=[study_to(each) for each in studies], kinds=kinds)
    embedded = await replica.answer("Embed", wanted.SerializeToString(), RayContext())
    with server.client() as client:
        assert without_timing(graded) == without_timing(await asyncio.to_thread(client.grade, studies))
        both = [VectorKind.IMAGE, VectorKind.JOINT]
        assert without_timing(embedded) == without_timing(await asyncio.to_thread(client.embed, studies, both))
    model = await replica.answer("GetModel", b"", RayContext())
    assert model.model == graded.model
    assert model.limits.max_studies == 8


@pytest.mark.parametrize(
    ("name", "data", "metadata"),
    [
        ("Grade", b"", ()),
        ("Grade", b"\xff\xff", ()),
        ("Embed", b"", ()),
        ("GradeExam", b"", ()),
        ("Grade", grade_request(*[Study(note="macula", id=str(i)) for i in range(9)]).SerializeToString(), ()),
        ("Grade", grade_request(Study(note="macula")).SerializeToString(), (("x-foveal-model", "nobody"),)),
        ("GetModel", b"", (("x-foveal-version", "0000"),)),
    ],
)
async def test_refusals_are_the_servers(
    replica: Replica, server: RunningServer, name: str, data: bytes, metadata: tuple[tuple[str, str], ...]
) -> None:
    context = RayContext(*metadata)
    answer = await replica.answer(name, data, context)
    assert isinstance(answer, NoAnswer)
    async with open_aio_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/foveal.v1.Screening/{name}")(data, metadata=metadata)
    assert context.told["code"] is refused.value.code()
    assert context.told["details"] == refused.value.details()
    assert (
        context.told["trailing"]["grpc-status-details-bin"]
        == dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    )


async def test_a_call_that_could_only_be_answered_too_late_is_refused(replica: Replica) -> None:
    context = RayContext((LEFT_KEY, "0.0"))
    await replica.answer("Grade", grade_request(Study(image=photograph())).SerializeToString(), context)
    assert context.told["code"] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert context.error().reason == "DEADLINE"


async def test_a_call_whose_caller_has_gone_is_dropped_before_it_is_computed(config: ServeConfig) -> None:
    replica = Replica(config, cpus=1)
    await replica.start()
    try:
        (pid,) = replica.host.model.batcher.pids
        import os
        import signal

        os.kill(pid, signal.SIGSTOP)
        data = [grade_request(Study(image=photograph(i))).SerializeToString() for i in range(8)]
        calls = [asyncio.create_task(replica.answer("Grade", each, RayContext())) for each in data]
        while replica.host.model.batcher.depth < len(calls):
            await asyncio.sleep(0.01)
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        os.kill(pid, signal.SIGCONT)
        await calls[0]
        while replica.host.model.batcher.depth:
            await asyncio.sleep(0.01)
        assert all(call.cancelled() for call in calls[1:])
    finally:
        await replica.close()


async def test_health_is_answered_and_a_replica_whose_self_test_failed_is_unusable(replica: Replica) -> None:
    ask = health_pb2.HealthCheckRequest(service="foveal.v1.Screening").SerializeToString()
    assert (await replica.check(ask, RayContext())).status == health_pb2.HealthCheckResponse.SERVING
    context = RayContext()
    await replica.check(health_pb2.HealthCheckRequest(service="nobody").SerializeToString(), context)
    assert context.told["code"] is grpc.StatusCode.NOT_FOUND
    replica.check_usable()
    replica.host._drift = "planted"
    with pytest.raises(FovealError, match="self-test failed"):
        replica.check_usable()


async def test_a_replica_does_not_start_with_a_bundle_that_fails_its_self_test(tmp_path: Path) -> None:
    shifted = write_bundle(tmp_path / "shifted", golden_shift=1.0)
    with pytest.raises(CheckFailed, match="self-test"):
        await Replica(ServeConfig(bundle=shifted), cpus=1).start()


async def test_a_node_with_another_bundle_at_the_path_is_refused(config: ServeConfig) -> None:
    actor = object.__new__(ScreeningReplica)
    with pytest.raises(BundleError, match="another bundle"):
        await ScreeningReplica.__init__(actor, config, 1, "0" * 64)  # type: ignore[func-returns-value]


def test_every_call_that_is_offered_has_a_method_for_ray() -> None:
    assert all(callable(getattr(ScreeningReplica, name)) for name in (*OFFERED, "Check"))
