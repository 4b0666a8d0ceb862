"""A real `foveal serve` process on loopback for as long as a block runs: what the demo and the benchmarks talk to.

Needs grpc, which the runtime has; knows nothing of what is asked of the server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveal_runtime.errors import CheckFailed

FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")
"""The `foveal` script of this environment."""
_READY_S = 120.0
_STOP_S = 30.0
_POLL_S = 0.1


@contextmanager
def local_server(bundle: Path, *flags: str, address: str | None = None) -> Iterator[str]:
    """Serve `bundle`; SIGTERM afterwards, and the server must then exit 0.

    Args:
        bundle: what to serve.
        flags: more of `foveal serve`.
        address: HOST:PORT to serve on; default: a port of loopback that is free.

    Yields:
        The server's HOST:PORT, once it answers.

    Raises:
        CheckFailed: it did not get ready, or did not end well; it has said why on stderr.
    """
    address = address or free_address()
    command = [*FOVEAL, "serve", str(bundle), "--address", address, *flags]
    # Else gRPC remarks on stderr that its fork handlers are skipped, when the embedded PostgreSQL is started.
    environment = {"GRPC_VERBOSITY": "ERROR", **os.environ}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        _wait_until_serving(address, server)
        yield address
        server.send_signal(signal.SIGTERM)
        code = server.wait(_STOP_S)
        if code != 0:
            raise CheckFailed(f"the server ended with exit code {code} after SIGTERM; it says above why")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _wait_until_serving(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for the health service to say SERVING: the port answers earlier, while the bundle and the archive open."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    deadline = time.monotonic() + _READY_S
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                status = health.Check(health_pb2.HealthCheckRequest(), timeout=_READY_S).status
                if status == health_pb2.HealthCheckResponse.SERVING:
                    return
                state = "it answers, but not SERVING"
            except grpc.RpcError as error:
                state = error.code().name
            if server.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"the server on {address} did not get ready ({state}); it says above why")
            time.sleep(_POLL_S)


def free_address() -> str:
    """A HOST:PORT of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
