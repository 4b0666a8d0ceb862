"""Start or join a Ray cluster for as long as a block runs: nothing phones home, nothing listens beyond what was asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from foveal_runtime.cluster.binding import HOOK
from foveal_runtime.errors import ConfigError, UnavailableError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Variables of Ray: no usage statistics, and no talk on the terminal."""
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What makes Ray's processes listen on loopback, on Linux too. By itself Ray takes the machine's own address, also where it is
given 127.0.0.1."""
LOOPBACK = "127.0.0.1"
_ATTEMPTS = 3
"""To start one: Ray gives up on a process that took 15 s, as it may on a machine that has much to do."""
_STORE_BYTES = 1 << 30
"""Of objects in memory that a cluster of this machine keeps at most: calls in work, and an archive's batches."""


def import_ray(*, alone: bool = False) -> Any:
    """Ray, set not to phone home before it is imported.

    Args:
        alone: nothing but this machine will be reached.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.update(QUIET)
    if alone:
        os.environ.update(_ALONE)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(f"--ray needs {error.name!r}, which is not installed; install foveal[ray]") from None
    return ray


@contextlib.contextmanager
def connected(address: str, *, cpus: int | None = None, env: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A cluster, as the module `ray`.

    Args:
        address: HOST:PORT of its head; empty starts one in this machine, on loopback, and ends it after the block.
        cpus: of a cluster that is started, as Ray counts them; None are this machine's.
        env: variables of every process that works for us.

    Raises:
        ConfigError: Ray is not installed.
        UnavailableError: there is no cluster at the address.
    """
    ray = import_ray(alone=not address)
    variables = {**QUIET, **(env or {})}
    os.environ.update(variables)
    common = {
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {"env_vars": variables, "worker_process_setup_hook": HOOK},
    }
    if address:
        _begin(ray, address=address, **common)
    else:
        _begin_alone(ray, num_cpus=cpus, **common)
    try:
        yield ray
    finally:
        ray.shutdown()


def _begin_alone(ray: Any, **settings: Any) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            _begin(ray, address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **settings)
        except UnavailableError:
            ray.shutdown()
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return


def _begin(ray: Any, *, address: str, **settings: Any) -> None:
    try:
        ray.init(address=address, **settings)
    except Exception as error:  # noqa: BLE001 - Ray raises plain exceptions
        first = str(error).splitlines()[0][:200]
        where = (
            "no Ray cluster could be started on this machine" if address == "local" else f"no Ray cluster answers at {address}"
        )
        raise UnavailableError(
            f"{where} ({first}); start one with `ray start --head`, and name it with --ray-address"
        ) from None
