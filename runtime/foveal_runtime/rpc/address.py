"""The address a server listens on: can it be had, and which is free? Listens to nothing for longer than that."""

from __future__ import annotations

import os
import socket
import sys

from foveal_runtime.errors import ConfigError


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_free(host: str, port: int, flag: str = "--address") -> None:
    """Say in one line why an address can't be listened on; gRPC would print a page of its own first.

    Args:
        host: of this machine.
        port: 0 is free in any case.
        flag: that names the address.

    Raises:
        ConfigError: naming the address and the mend.
    """
    if port == 0:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"address {host}:{port} can't be resolved ({error}); give HOST:PORT of this machine") from None
    family, kind, protocol, _, target = found[0]
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen(1)
        except OSError as error:
            raise ConfigError(
                f"can't listen on {host}:{port} ({os.strerror(error.errno or 0)}); stop what uses it, or choose another with "
                f"{flag} HOST:PORT"
            ) from None
