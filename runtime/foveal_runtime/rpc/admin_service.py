"""The `Admin` service: messages in, messages out. The server and its hosts do the work."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import admin_pb2, admin_pb2_grpc
from foveal_runtime.errors import UnavailableError
from foveal_runtime.rpc.admin_messages import (
    certificate_to,
    drift_to,
    history_to,
    latency_to,
    models_to,
    self_test_to,
    state_to,
)
from foveal_runtime.rpc.messages import model_ref_to

if TYPE_CHECKING:
    from foveal_runtime.access.watching import Watched
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.rpc.audited import Audited
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.rpc.latency import RecentCalls
    from foveal_runtime.rpc.served_drift import ServedDrift
    from foveal_runtime.rpc.served_replicas import ServedReplicas
    from foveal_runtime.serving.router import Router


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """The parts of one server that its `Admin` service looks at."""

    router: Router
    archive_alive: Callable[[], bool | None]
    """Whether the store answers; None when there is none."""
    audited: Audited
    """May answer nothing while its trail can't be written."""
    certificate: Watched[ServerFiles] | None
    recent: RecentCalls
    drift: ServedDrift
    replicas: ServedReplicas


class AdminService(admin_pb2_grpc.AdminServicer):
    """Looks after one server."""

    def __init__(self, at: Looked, reload: Callable[[], Awaitable[Bundle]]) -> None:
        """Args:
        at: parts of the server.
        reload: loads the default model's bundle again, or raises a `FovealError` and keeps the current one.
        """
        self._at = at
        self._host = at.router.default
        self._reload = reload
        self._started = time.monotonic()

    async def SelfTest(self, request: Any, context: Any) -> Any:
        report = await self._host.self_test()
        return self_test_to(report, self._host.bundle)

    async def Reload(self, request: Any, context: Any) -> Any:
        before = self._host.bundle.sha256
        bundle = await self._reload()
        return admin_pb2.ReloadResponse(model=model_ref_to(bundle), changed=bundle.sha256 != before)

    async def GetStatus(self, request: Any, context: Any) -> Any:
        at, now = self._at, time.monotonic()
        alive = at.archive_alive()
        status, refusal = self._host.status(), at.audited.refusal
        healthy = status.healthy and not refusal
        message = admin_pb2.GetStatusResponse(
            screening=state_to(healthy),
            archive=admin_pb2.SERVING_STATE_ABSENT if alive is None else state_to(alive and healthy),
            reason=status.reason or refusal or ("" if alive is not False else "the store does not answer"),
            uptime_s=now - self._started,
            workers_ready=status.workers_ready,
            workers_wanted=status.workers_wanted,
            workers_lost=sum(status.lost_by_cause.values()),
            queued_studies=status.queued_studies,
            queued_bytes=status.queued_bytes,
            models=models_to(at.router.hosts()),
            history=history_to(at.router.hosts()),
            certificate=certificate_to(at.certificate),
            latency=latency_to(at.recent.latencies()),
            archive_replicas=at.replicas.messages(),
        )
        try:
            bundle = self._host.bundle
        except UnavailableError as error:
            message.reason = str(error)
            return message
        message.model.CopyFrom(model_ref_to(bundle))
        if status.last_test is not None:
            ended, report = status.last_test
            message.self_test_passed, message.self_test_age_s = report.passed, now - ended
            message.last_self_test.CopyFrom(self_test_to(report, bundle))
        return message

    async def GetDrift(self, request: Any, context: Any) -> Any:
        return drift_to(self._at.drift.streams, request.weeks)
