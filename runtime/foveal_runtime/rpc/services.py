"""The services and models of one server, as its settings name them. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from foveal_runtime._proto import admin_pb2_grpc, archive_pb2_grpc, open_inference_grpc_pb2_grpc, screening_pb2_grpc
from foveal_runtime.rpc.permissions import ADMIN, ARCHIVE, INFERENCE, SCREENING
from foveal_runtime.rpc.service import graded_as_served
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.router import Router
from foveal_runtime.serving.shadow import Shadow

if TYPE_CHECKING:
    from foveal_runtime.rpc.admin_service import AdminService
    from foveal_runtime.rpc.archive_service import ArchiveService
    from foveal_runtime.rpc.health_service import Health
    from foveal_runtime.rpc.inference_service import InferenceService
    from foveal_runtime.rpc.service import ScreeningService
    from foveal_runtime.serving.config import ServeConfig


def add_services(
    server: Any,
    screening: ScreeningService,
    archive: ArchiveService,
    admin: AdminService,
    inference: InferenceService,
    health: Health,
    *,
    reflect: bool,
) -> Mapping[str, Any]:
    """Have a gRPC server serve them.

    Args:
        server: of grpc.aio, not started.
        screening: its service, as are those that follow.
        archive: see above.
        admin: see above.
        inference: see above.
        health: see above.
        reflect: tell the contract to whoever asks.

    Returns:
        Those behind the boundary, by the services' full names.
    """
    screening_pb2_grpc.add_ScreeningServicer_to_server(screening, server)
    archive_pb2_grpc.add_ArchiveServicer_to_server(archive, server)
    admin_pb2_grpc.add_AdminServicer_to_server(admin, server)
    open_inference_grpc_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    servicers = {SCREENING: screening, ARCHIVE: archive, ADMIN: admin, INFERENCE: inference}
    if reflect:
        named = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*servicers, named, reflection.SERVICE_NAME), server)
    return servicers


def routed(config: ServeConfig, default: ModelHost) -> Router:
    """To the models that a server's settings name."""
    canary = None if config.canary is None else ModelHost(config.other_model(config.canary))
    shadow = None
    if config.shadow is not None:
        host = ModelHost(config.other_model(config.shadow, shadow=True))
        shadow = Shadow(host, partial(graded_as_served, config))
    return Router(default, canary=canary, canary_share=config.canary_share, shadow=shadow)
