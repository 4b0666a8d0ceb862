"""gRPC's own server as foveal wants it: interceptors and options. Serves nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from foveal_runtime.rpc.keepalive import KEEPALIVE

if TYPE_CHECKING:
    from foveal_runtime.rpc.call import Boundary
    from foveal_runtime.rpc.traces import Traces
    from foveal_runtime.serving.config import ServeConfig

_UNASKED_BYTES = 64 << 10


def make_server(config: ServeConfig, boundary: Boundary, traces: Traces | None) -> Any:
    """A server of grpc.aio that listens nowhere.

    Args:
        config: its limits.
        boundary: around every call.
        traces: of the calls; None makes none.
    """
    return grpc.aio.server(
        interceptors=(boundary,) if traces is None else (traces.interceptor(), boundary),
        # Ours are refused before that, with a time after which to come back; this bounds those of other services too.
        maximum_concurrent_rpcs=2 * config.max_calls,
        options=(
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            ("grpc.so_reuseport", 0),  # two servers on one port would share the callers between them
            # Of a message that nobody has asked for yet, so much is received and no more: by itself, gRPC would let a fast
            # sender fill megabytes. What is asked for may come as fast as it will.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", _UNASKED_BYTES),
            *KEEPALIVE.server_settings(),
        ),
    )
