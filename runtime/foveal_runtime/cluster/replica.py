"""One replica of a bundle: the services, boundary and workers of `foveal serve`, without its port. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cluster.calls import NoAnswer, RayCall, Refused
from foveal_runtime.errors import UnavailableError
from foveal_runtime.rpc.admission import Admission
from foveal_runtime.rpc.admits import admits
from foveal_runtime.rpc.audited import Audited
from foveal_runtime.rpc.budget import ByteBudget
from foveal_runtime.rpc.call import Boundary
from foveal_runtime.rpc.entrance import Entrance
from foveal_runtime.rpc.health_service import Health
from foveal_runtime.rpc.limit_messages import limits_to
from foveal_runtime.rpc.permissions import SCREENING
from foveal_runtime.rpc.service import ScreeningService
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.memory import few_arenas, keep_freed, leave_loaded
from foveal_runtime.serving.router import Router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.rpc.inbox import Received
    from foveal_runtime.serving.config import ServeConfig

OFFERED = ("Grade", "GradeExam", "Embed", "GetModel")
"""Calls of `foveal.v1.Screening` that a replica answers: those of one message."""


class Replica:
    """`start`, then `answer`. Lives on one event loop."""

    def __init__(self, config: ServeConfig, cpus: int) -> None:
        """Args:
        config: as of `foveal serve`; the address is the proxies'.
        cpus: cores of this replica, each with a worker, where the settings name no workers.
        """
        if not (config.workers or config.threads):
            config = replace(config, workers=cpus, threads=1, chosen=True)
        self.host = ModelHost(config.model)
        self._entrance, budget = Entrance(config), ByteBudget.of(config)
        admit = admits(self.host, Admission("archive calls", 1, 1), Audited())
        self._boundary = Boundary.of(config, budget=budget, gate=self._entrance.gate, admit=admit)
        service = ScreeningService(Router(self.host), config, limits_to(config, budget.total))
        self._health = Health()
        methods = {each.name: each for each in screening_pb2.DESCRIPTOR.services_by_name["Screening"].methods}
        self._parse = {name: GetMessageClass(methods[name].input_type).FromString for name in OFFERED}
        self._call = {name: self._boundary.unary(f"/{SCREENING}/{name}", getattr(service, name)) for name in OFFERED}
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> Bundle:
        """Load the bundle, and replay its golden studies in every worker.

        Raises:
            FovealError: it is unusable, or fails its self-test.
        """
        few_arenas()
        keep_freed()
        self.host.on_change = self._tell_health
        bundle = await self.host.load()
        self.host.test_regularly()
        self._watching = asyncio.create_task(self._entrance.watch())
        self._tell_health()
        leave_loaded()
        return bundle

    async def answer(self, name: str, data: bytes, context: Any) -> Any:
        """Answer a call of `OFFERED`.

        Args:
            name: of the call.
            data: its message, as it was received.
            context: that Ray passes on, and sends back with a status where the call is refused.

        Returns:
            The message that answers, or what stands for none.
        """
        return await _answered(context, partial(self._call[name], self._messages(name, data)))

    async def _messages(self, name: str, data: bytes) -> AsyncIterator[Received]:
        yield self._boundary.received_by(self._parse[name])(data)

    async def check(self, data: bytes, context: Any) -> Any:
        """Answer `grpc.health.v1.Health/Check`."""
        return await _answered(context, partial(self._health.Check, health_pb2.HealthCheckRequest.FromString(data)))

    def check_usable(self) -> None:
        """Raises:
        UnavailableError: it may not answer, and another should take its place.
        """
        status = self.host.status()
        if not status.healthy:
            raise UnavailableError(f"this replica may not answer: {status.reason}")

    def _tell_health(self) -> None:
        for service in ("", SCREENING):
            self._health.set(service, self.host.healthy)

    async def close(self) -> None:
        """End the workers."""
        if self._watching is not None:
            self._watching.cancel()
        await self.host.close()


async def _answered(context: Any, work: Callable[[RayCall], Awaitable[Any]]) -> Any:
    """What answers a call, or what stands for none where it is refused."""
    call = RayCall(context)
    try:
        return await work(call)
    except Refused as refused:
        call.answer_refused(refused)
        return NoAnswer()
