"""How a bundle is spread over a Ray cluster. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass

from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.config import ServeConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """Of one application."""

    address: str = ""
    """HOST:PORT of the head of a cluster that runs; empty starts one in this machine, for as long as the command runs."""
    replicas: int = 1
    """Replicas of the bundle at least."""
    max_replicas: int = 0
    """Replicas at most, as calls come; 0 is as many as at least."""
    replica_cpus: int = 0
    """Cores of a replica, each of which gets a worker; 0 divides this machine's among the replicas."""
    target_calls: float = 8.0
    """Calls in work or waiting in a replica from which on another is started."""

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ConfigError(f"replicas is {self.replicas}; want at least 1")
        if self.max_replicas and self.max_replicas < self.replicas:
            raise ConfigError(
                f"max_replicas is {self.max_replicas}, less than the {self.replicas} replicas; want as many or more"
            )
        if self.replica_cpus < 0:
            raise ConfigError(f"replica_cpus is {self.replica_cpus}; want at least 1, or 0 to divide this machine's cores")
        if not self.target_calls > 0:
            raise ConfigError(f"target_calls is {self.target_calls:g}; want a number above 0")

    @property
    def most(self) -> int:
        """Replicas at most."""
        return self.max_replicas or self.replicas


_ELSEWHERE = (
    ("store", "the archive", "`foveal serve --store`, which `foveal index --ray` fills"),
    ("http", "HTTP", "`foveal serve --http`"),
    ("canary", "a canary", "`foveal serve --canary`"),
    ("shadow", "a shadow", "`foveal serve --shadow`"),
    ("audit", "the audit trail, of one server alone,", "`foveal serve --audit`"),
    ("drift", "drift, counted by one server alone,", "`foveal serve --drift`"),
    ("metrics", "foveal's metrics", "`foveal serve --metrics`; Ray has its own"),
    ("traces", "traces", "`foveal serve --traces`"),
    ("tls_cert", "TLS", "a proxy before an address of loopback (deploy/envoy, deploy/haproxy)"),
    ("reflection", "reflection", "`foveal serve --reflection`"),
)


def check_offered(config: ServeConfig) -> None:
    """Refuse settings that mean nothing on Ray, rather than serve without what they ask for.

    Raises:
        ConfigError: naming the setting, and where it is offered.
    """
    if config.address.startswith("unix:"):
        raise ConfigError("--ray listens on HOST:PORT alone; Ray Serve's proxy knows no sockets of Unix")
    if config.address.endswith(":0"):
        raise ConfigError("--ray needs a port of its own: all its proxies listen on it; give --address HOST:PORT")
    for name, what, where in _ELSEWHERE:
        if getattr(config, name):
            raise ConfigError(f"{name}: --ray does not offer {what}; use {where}, or leave it out")
