"""Which servers an address names: one, or several that calls are spread over. Connects to nothing.

Over several servers each call goes to the next one whose health service says SERVING (gRPC's `round_robin` with client-side
health checks), so that one that starts, drains, has failed its self-test or is gone gets none. One server alone is always
asked, since it says itself why it does not answer.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.address import host_and_port

_DNS = "dns:"
_SPREAD = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}


def names_several(address: str) -> bool:
    """Whether calls are spread: a list of addresses, or a name given as dns:///NAME:PORT, behind which there may be many."""
    return "," in address or address.startswith(_DNS)


def target_of(address: str, *, tls: bool) -> str:
    """gRPC's target of an address.

    Args:
        address: HOST:PORT, unix:PATH, dns:///NAME:PORT, or IP:PORT of several with commas.
        tls: whether the servers show certificates.

    Raises:
        ConfigError: a list of what are no IP addresses, or of servers with TLS: their certificates have one name in common.
    """
    if "," not in address:
        return address
    several = [each.strip() for each in address.split(",")]
    mend = "give IP:PORT of each, or dns:///NAME:PORT of a name that leads to all"
    if tls:
        raise ConfigError(
            f"address {address} names several servers, and TLS needs the one name that all certificates have; {mend}"
        )
    try:
        versions = {ipaddress.ip_address(host_and_port(each)[0]).version for each in several}
    except ValueError:
        raise ConfigError(f"address {address} has a part that is no IP:PORT; {mend}") from None
    if len(versions) > 1:
        raise ConfigError(f"address {address} mixes IPv4 and IPv6; {mend}")
    return f"ipv{versions.pop()}:{','.join(several)}"


def spreading(address: str) -> list[tuple[str, Any]]:
    """gRPC's options of a channel that calls are spread over; none for one server."""
    return [("grpc.service_config", json.dumps(_SPREAD))] if names_several(address) else []
