"""Which roles may make which call: one table beside the services, read by the server, the documentation and a test of all.

A call that is missing here is nobody's. `grpc.health.v1.Health` is open, and what stands in `OPEN`: load balancers and
supervisors ask, and are told one word. Reflection is there with `--reflection` alone and open then: it tells the contract, a
public one.
"""

from __future__ import annotations

from types import MappingProxyType

from foveal_runtime._proto import admin_pb2, archive_pb2, open_inference_grpc_pb2, screening_pb2
from foveal_runtime.access.roles import Role

SCREENING = screening_pb2.DESCRIPTOR.services_by_name["Screening"].full_name
ARCHIVE = archive_pb2.DESCRIPTOR.services_by_name["Archive"].full_name
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name
INFERENCE = open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_ANY = frozenset(Role)
_GRADE, _SEARCH, _WRITE, _ADMIN = (frozenset({role}) for role in (Role.GRADE, Role.SEARCH, Role.WRITE, Role.ADMIN))

ROLES = MappingProxyType(
    {
        SCREENING: {
            "Grade": _GRADE,
            "GradeStream": _GRADE,
            "GradeExam": _GRADE,
            "Embed": _GRADE,
            "EmbedStream": _GRADE,
            "GetModel": _ANY,  # what is served: a caller of any kind asks first
        },
        ARCHIVE: {
            "Search": _SEARCH,
            "Get": _SEARCH,
            "List": _SEARCH,
            "Stats": _SEARCH,
            "Upsert": _WRITE,
            "UpsertStream": _WRITE,
            "UpdateFacts": _WRITE,
            "Delete": _WRITE,
            "DeleteByFilter": _WRITE,
        },
        ADMIN: {
            "SelfTest": _ADMIN,
            "Reload": _ADMIN,
            "GetStatus": _ADMIN,
            "GetDrift": _ADMIN,
        },
        INFERENCE: {
            "ServerMetadata": _ANY,
            "ModelMetadata": _ANY,
            "ModelReady": _ANY,
            "ModelInfer": _GRADE,
        },
    }
)
"""By service and call: the roles of which a caller needs one."""

OPEN = {INFERENCE: ("ServerLive", "ServerReady")}
"""By service: calls that are asked of nobody, as health is."""

_BY_METHOD = {f"/{service}/{call}": roles for service, calls in ROLES.items() for call, roles in calls.items()}
_OPEN = frozenset(f"/{service}/{call}" for service, calls in OPEN.items() for call in calls)


def is_guarded(method: str) -> bool:
    """Whether who makes a call is asked, by gRPC's name of it; not so for services of others, which tell nothing."""
    return method.startswith(("/foveal.", f"/{INFERENCE}/")) and method not in _OPEN


def allowed(method: str) -> frozenset[Role]:
    """The roles of which a caller needs one, by gRPC's name of the call; none for a call that nobody has given a role."""
    return _BY_METHOD.get(method, frozenset())
