"""The options of commands that work on a Ray cluster. Imports no Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from foveal_runtime.cluster.options import RayOptions

Flag = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServeOnRay:
    """Serve on a Ray cluster."""

    ray: Flag = False
    "Serve by Ray Serve, whose proxies listen on --address: grading and embedding of one message; needs foveal[ray]."
    ray_address: str | None = None
    "HOST:PORT of the head of a Ray cluster; default: one is started in this machine, and ends with the command."
    replicas: int | None = None
    "With --ray: replicas of the bundle at least. Default 1."
    max_replicas: int | None = None
    "With --ray: replicas at most, started while calls wait. Default: as many as at least."
    replica_cpus: int | None = None
    "With --ray: cores, and workers, of a replica. Default: this machine's, divided among the replicas."
    target_calls: float | None = None
    "With --ray: calls in work or waiting in each replica from which on another is started. Default 8."

    def options(self) -> RayOptions | None:
        """What was asked for; None for a server without Ray.

        Raises:
            ConfigError: an option of Ray's without --ray, or a value that does not fit.
        """
        named = {
            "address": self.ray_address,
            "replicas": self.replicas,
            "max_replicas": self.max_replicas,
            "replica_cpus": self.replica_cpus,
            "target_calls": self.target_calls,
        }
        given = {name: value for name, value in named.items() if value is not None}
        if not self.ray:
            if given:
                flag = "ray-address" if "address" in given else next(iter(given)).replace("_", "-")
                raise ConfigError(f"--{flag} is for servers on Ray; add --ray, or leave it out")
            return None
        from foveal_runtime.cluster.options import RayOptions

        return RayOptions(**given)  # type: ignore[arg-type]  # each by its own name


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ArchiveOnRay:
    """Embed an archive on a Ray cluster."""

    ray: Flag = False
    "Embed on a Ray cluster, whose nodes hold the bundle, and not in a server; needs foveal[ray]. See --bundle and --out."
    bundle: Path | None = None
    "With --ray: folder that `foveal export` wrote; every node has it, and the archive, at the same path."
    out: Path | None = None
    "With --ray: folder of vectors, grades and failures (Parquet); a command that is given again goes on where it ended."
    ray_address: str | None = None
    "HOST:PORT of the head of a Ray cluster; default: one is started in this machine, and ends with the command."
    node_cpus: int | None = None
    "With --ray: cores of each node that are used, each with a worker. Default: those of the smallest node."
    allow_unverified: Flag = False
    "With --ray: also grade by heads that too few held-out studies were there to judge."
    allow_untrained: Flag = False
    "With --ray: also grade by heads that held-out studies can't tell from chance."

    def wanted(self) -> bool:
        """Whether --ray was given.

        Raises:
            ConfigError: an option of Ray's without --ray, or --ray without what it needs.
        """
        names = ("bundle", "out", "ray_address", "node_cpus", "allow_unverified", "allow_untrained")
        given = [name for name in names if getattr(self, name) not in (None, False)]
        if not self.ray and given:
            raise ConfigError(f"--{given[0].replace('_', '-')} is for archives on Ray; add --ray, or leave it out")
        for name in ("bundle", "out") if self.ray else ():
            if name not in given:
                raise ConfigError(f"--ray needs --{name}; see --help")
        if self.node_cpus is not None and self.node_cpus < 1:
            raise ConfigError(f"--node-cpus is {self.node_cpus}; want at least 1")
        return self.ray
