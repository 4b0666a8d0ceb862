"""The `Admin` service: messages in, messages out. The server and its host do the work."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import admin_pb2, admin_pb2_grpc
from foveal_runtime.errors import UnavailableError
from foveal_runtime.rpc.messages import model_ref_to

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.rpc.audited import Audited
    from foveal_runtime.serving.host import ModelHost


class AdminService(admin_pb2_grpc.AdminServicer):
    """Looks after one server."""

    def __init__(
        self,
        host: ModelHost,
        reload: Callable[[], Awaitable[Bundle]],
        archive_alive: Callable[[], bool | None],
        audited: Audited,
    ) -> None:
        """Args:
        host: of the model.
        reload: loads the bundle again, or raises a `FovealError` and keeps the current one.
        archive_alive: whether the store answers; None when there is none.
        audited: of the server, which may answer nothing while its trail can't be written.
        """
        self._audited = audited
        self._host = host
        self._reload = reload
        self._archive_alive = archive_alive
        self._started = time.monotonic()

    async def SelfTest(self, request: Any, context: Any) -> Any:
        report = await self._host.self_test()
        return self_test_to(report, self._host.bundle)

    async def Reload(self, request: Any, context: Any) -> Any:
        before = self._host.bundle.sha256
        bundle = await self._reload()
        return admin_pb2.ReloadResponse(model=model_ref_to(bundle), changed=bundle.sha256 != before)

    async def GetStatus(self, request: Any, context: Any) -> Any:
        alive = self._archive_alive()
        status, refusal = self._host.status(), self._audited.refusal
        healthy = status.healthy and not refusal
        message = admin_pb2.GetStatusResponse(
            screening=_state(healthy),
            archive=admin_pb2.SERVING_STATE_ABSENT if alive is None else _state(alive and healthy),
            reason=status.reason or refusal or ("" if alive is not False else "the store does not answer"),
            uptime_s=time.monotonic() - self._started,
            workers_ready=status.workers_ready,
            workers_wanted=status.workers_wanted,
            workers_lost=sum(status.lost_by_cause.values()),
            queued_studies=status.queued_studies,
            queued_bytes=status.queued_bytes,
            self_test_passed=None if status.last_test is None else status.last_test[1].passed,
        )
        try:
            message.model.CopyFrom(model_ref_to(self._host.bundle))
        except UnavailableError as error:
            message.reason = str(error)
        return message


def _state(serving: bool) -> Any:
    return admin_pb2.SERVING_STATE_SERVING if serving else admin_pb2.SERVING_STATE_NOT_SERVING


def self_test_to(report: SelfTestReport, bundle: Bundle) -> admin_pb2.SelfTestResponse:
    """The message for a self-test's report."""
    return admin_pb2.SelfTestResponse(
        passed=report.passed,
        studies=report.studies,
        min_cosine=report.min_cosine,
        max_abs_embedding=report.max_abs_embedding,
        max_abs_probability=report.max_abs_probability,
        icdr_flips=report.icdr_flips,
        referable_flips=report.referable_flips,
        neighbour_dependence=report.neighbour_dependence,
        failures=[
            admin_pb2.Drift(study=d.study, subset=d.subset, quantity=d.quantity, got=d.got, limit=d.limit)
            for d in report.failures
        ],
        model=model_ref_to(bundle),
    )
