"""Keep Ray Serve's gRPC servers on the address that was asked for.

Ray 2.60 binds its gRPC proxy and the port between its replicas to every interface and has no setting for it. Ray runs `bind` in
each of its processes before any work (`worker_process_setup_hook`). Listens to nothing itself.
"""

from __future__ import annotations

import os
from typing import Any

ADDRESS = "FOVEAL_RAY_INGRESS"
"""Variable with the HOST:PORT on which callers are served."""
HOOK = "foveal_runtime.cluster.binding.bind"
_EVERYWHERE = "[::]"


def bind() -> None:
    """Have every gRPC server that this process starts from here on listen where it should."""
    from grpc.aio import _server

    plain = _server.Server.add_insecure_port

    def add_insecure_port(server: Any, address: str) -> int:
        return int(plain(server, placed(address, os.environ.get(ADDRESS, ""), _node_host)))

    _server.Server.add_insecure_port = add_insecure_port


def placed(address: str, ingress: str, node_host: Any) -> str:
    """Where a server listens that asked for every interface.

    Args:
        address: as Ray gives it, such as `[::]:50051`.
        ingress: HOST:PORT of the callers.
        node_host: tells the host by which other nodes know this one.
    """
    host, _, port = address.rpartition(":")
    if host != _EVERYWHERE:
        return address
    wanted, _, ingress_port = ingress.rpartition(":")
    return f"{wanted}:{port}" if port == ingress_port else f"{node_host()}:{port}"


def _node_host() -> str:
    import ray

    return str(ray.util.get_node_ip_address())
