"""A bundle as an application of Ray Serve: deployed, replaced by another bundle replica by replica, taken down."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.signing import read_public_key
from foveal_runtime.cluster.binding import ADDRESS
from foveal_runtime.cluster.ingress import FUNCTION
from foveal_runtime.cluster.options import check_offered
from foveal_runtime.cluster.replica_service import ScreeningReplica
from foveal_runtime.cluster.session import LOOPBACK, connected
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.errors import CheckFailed, ConfigError
from foveal_runtime.rpc.address import check_free, free_port
from foveal_runtime.serving.address import is_loopback

if TYPE_CHECKING:
    from foveal_runtime.cluster.options import RayOptions
    from foveal_runtime.serving.config import ServeConfig

NAME = "foveal"
"""Of the application, and of its deployment."""
_STARTS = 3
"""Of a replica, before its deployment is given up."""
_WHY_BYTES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Replicas of one bundle, as Ray Serve is told."""

    replicas: int
    most: int
    cpus: int
    target_calls: float

    @classmethod
    def of(cls, options: RayOptions) -> Spread:
        """As a command was told, on this machine."""
        cpus = options.replica_cpus or max(1, usable_cores() // options.replicas)
        return cls(replicas=options.replicas, most=options.most, cpus=cpus, target_calls=options.target_calls)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the deployment: so many, or as many as the calls in work and waiting want."""
        if self.most == self.replicas:
            return {"num_replicas": self.replicas}
        return {
            "autoscaling_config": {
                "min_replicas": self.replicas,
                "max_replicas": self.most,
                "target_ongoing_requests": self.target_calls,
            }
        }


class Application:
    """What is deployed in a cluster that is connected."""

    def __init__(self, config: ServeConfig, spread: Spread) -> None:
        """Args:
        config: as of `foveal serve`.
        spread: of its replicas.
        """
        self.config, self._spread = config, spread
        self._key = None if config.require_signature is None else read_public_key(config.require_signature)

    def deploy(self) -> Bundle:
        """Deploy the bundle that stands at the configured path now, in place of what is deployed. Each replica replays its
        golden studies before it answers, and one of the old bundle goes when one of the new one is there.

        Raises:
            FovealError: the bundle is unusable here.
            CheckFailed: no replica of it can be started; what was deployed goes on.
        """
        from ray import serve

        # A link may be pointed elsewhere before the last replica is started.
        config = replace(self.config, bundle=Path(os.path.realpath(self.config.bundle)))
        bundle = Bundle.open(config.bundle, signed_by=self._key)
        cls = serve.deployment(
            ScreeningReplica,
            name=NAME,
            ray_actor_options={"num_cpus": self._spread.cpus},
            # A full replica refuses by itself, with a time after which to come back: Ray would let calls wait without an end.
            max_ongoing_requests=self.config.max_calls,
            max_surge_percent=100,  # an old replica goes when the new one in its place has passed its self-test
            max_constructor_retry_count=_STARTS,
            graceful_shutdown_timeout_s=self.config.drain_s,
            health_check_timeout_s=60.0,
            **self._spread.settings,
        )
        try:
            serve.run(cls.bind(config, self._spread.cpus, bundle.sha256), name=NAME, route_prefix="/")
        except RuntimeError as error:
            raise CheckFailed(f"no replica of {bundle.path} could be started: {_why(serve, error)}") from None
        return bundle

    def remove(self) -> None:
        """Finish what was accepted, and take the application down."""
        from ray import serve

        serve.delete(NAME)


def _why(serve: Any, error: Exception) -> str:
    """What the replica said, without its trace."""
    found = serve.status().applications.get(NAME)
    said = [deployment.message for deployment in found.deployments.values()] if found else []
    lines = [line for text in said or [str(error)] for line in text.splitlines() if "Error" in line or "Failed" in line]
    return (lines[-1] if lines else str(error).splitlines()[0])[:_WHY_BYTES]


@contextmanager
def application(config: ServeConfig, options: RayOptions) -> Iterator[Application]:
    """Ray Serve with foveal's ingress, for as long as a block runs; nothing is deployed yet.

    Args:
        config: as of `foveal serve`.
        options: of the cluster.

    Raises:
        ConfigError: a setting is not offered, the address is in use, or Ray is not installed.
        UnavailableError: there is no cluster at the address.
    """
    check_offered(config)
    spread = Spread.of(options)
    host, _, port = config.address.rpartition(":")
    check_free(host.strip("[]"), int(port))
    env = {
        ADDRESS: config.address,
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(config.max_message_bytes),
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Each of these takes a call through two threads more; what foveal runs there waits on no loop.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    }
    # Of a cluster of its own the cores are counted twice: while a bundle is replaced, old and new replicas are there.
    with connected(options.address, cpus=2 * spread.most * spread.cpus, env=env):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(
            # Who listens on loopback is reached on one machine alone.
            proxy_location="HeadOnly" if is_loopback(config.address) else "EveryNode",
            # Ray's HTTP proxy can't be left out where gRPC is wanted: on loopback, and nothing answers there.
            http_options={"host": LOOPBACK, "port": free_port()},
            logging_config={"enable_access_log": False},
            grpc_options={"port": int(port), "grpc_servicer_functions": [FUNCTION], "enable_reflection": False},
        )
        if NAME in serve.status().applications:
            raise ConfigError(
                f"the cluster at {options.address} serves an application {NAME!r} already; end its `foveal serve` first"
            )
        try:
            yield Application(config, spread)
        finally:
            if options.address:
                serve.delete(NAME)
            else:
                serve.shutdown()
