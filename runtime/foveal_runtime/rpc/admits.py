"""What is asked of a call before its message is received, by the call's name. Receives nothing."""

from __future__ import annotations

from typing import Any

from foveal_runtime._proto import archive_pb2
from foveal_runtime.rpc import shares
from foveal_runtime.rpc.admission import Admission
from foveal_runtime.rpc.audited import Audited
from foveal_runtime.rpc.call import Admit
from foveal_runtime.serving.host import ModelHost

_QUEUED = ("Grade", "GradeExam", "Embed", "Upsert", "ModelInfer")
"""Unary calls that wait for a worker."""


def admits(host: ModelHost, archive_calls: Admission, audited: Audited) -> dict[str, Admit]:
    """Checks that raise a `FovealError`, by the names of unary calls.

    Args:
        host: of the model that calls wait for.
        archive_calls: in work.
        audited: of the server.
    """

    def to_queue(context: Any) -> None:
        audited.check()
        host.model.batcher.check(1, context.time_remaining(), shares.current())

    def to_archive(context: Any) -> None:
        audited.check()
        archive_calls.check()

    def to_both(context: Any) -> None:
        to_archive(context)
        to_queue(context)

    archive = {method.name for method in archive_pb2.DESCRIPTOR.services_by_name["Archive"].methods}
    return {
        name: to_queue if name not in archive else to_both if name in _QUEUED else to_archive for name in archive.union(_QUEUED)
    }
