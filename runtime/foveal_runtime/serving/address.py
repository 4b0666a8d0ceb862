"""gRPC addresses: their host and port, and whether they stay on this machine. Resolves no name and opens nothing."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether a gRPC address stays on this machine: 127.0.0.0/8, ::1, localhost, Unix sockets."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    return all(_is_loopback_host(host_and_port(each)[0]) for each in address.split(","))


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of an address, which may begin with dns:///, ipv4: or ipv6:; port 443, as in gRPC, where none is given."""
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        if address.startswith(scheme):
            address = address.removeprefix(scheme).rpartition("/")[2]
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    else:
        host, port = address, ""
    return host, int(port) if port.isdecimal() else 443


def _is_loopback_host(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    return (mapped or number).is_loopback
