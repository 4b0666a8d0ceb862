"""What --ray is told, and where Ray's servers listen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foveal_runtime.cli.ray_flags import ArchiveOnRay, ServeOnRay
from foveal_runtime.cluster.application import Spread
from foveal_runtime.cluster.binding import placed
from foveal_runtime.cluster.options import RayOptions, check_offered
from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.config import ServeConfig


def test_ray_serves_where_it_was_told_and_other_nodes_are_reached_at_their_own_address() -> None:
    assert placed("[::]:50051", "127.0.0.1:50051", lambda: "10.0.0.7") == "127.0.0.1:50051"
    assert placed("[::]:50051", "[::]:50051", lambda: "10.0.0.7") == "[::]:50051"
    assert placed("[::]:0", "127.0.0.1:50051", lambda: "10.0.0.7") == "10.0.0.7:0"
    assert placed("10.1.1.1:50051", "127.0.0.1:50051", lambda: "10.0.0.7") == "10.1.1.1:50051"


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"store": "/var/lib/foveal"}, "the archive"),
        ({"canary": Path("other")}, "a canary"),
        ({"audit": Path("trail")}, "the audit trail"),
        ({"http": "127.0.0.1:8080"}, "HTTP"),
        ({"tls_cert": Path("c"), "tls_key": Path("k")}, "TLS"),
        ({"address": "unix:/run/foveal"}, "HOST:PORT"),
        ({"address": "127.0.0.1:0"}, "port of its own"),
    ],
)
def test_a_setting_that_ray_does_not_offer_is_refused_by_name(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        check_offered(ServeConfig(bundle=Path("bundle"), **changed))
    check_offered(ServeConfig(bundle=Path("bundle")))


def test_replicas_grow_with_the_calls_only_where_there_may_be_more() -> None:
    assert Spread.of(RayOptions(replicas=2, replica_cpus=1)).settings == {"num_replicas": 2}
    assert Spread.of(RayOptions(replicas=1, max_replicas=4, target_calls=3.0)).settings == {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 3.0}
    }


@pytest.mark.parametrize(
    "wrong", [{"replicas": 0}, {"replicas": 3, "max_replicas": 2}, {"replica_cpus": -1}, {"target_calls": 0.0}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RayOptions(**wrong)


def test_flags_of_ray_without_ray_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-replicas is for servers on Ray"):
        ServeOnRay(max_replicas=2).options()
    with pytest.raises(ConfigError, match="--out is for archives on Ray"):
        ArchiveOnRay(out=Path("out")).wanted()
    with pytest.raises(ConfigError, match="--ray needs --bundle"):
        ArchiveOnRay(ray=True, out=Path("out")).wanted()
    assert ServeOnRay().options() is None
    assert ServeOnRay(ray=True, replicas=2).options() == RayOptions(replicas=2)


def test_nothing_of_foveal_imports_ray_before_it_is_asked_for() -> None:
    """A clinic's `foveal serve` starts as fast as it did, also where Ray is installed; nor does the cluster's own room."""
    code = (
        "import pkgutil, importlib, sys, foveal_runtime.cli.serve, foveal_runtime.cli.index, foveal_runtime.cli.embed, "
        "foveal_runtime.rpc.server, foveal_runtime.http.door, foveal_runtime.cluster as room\n"
        "before = {'foveal_runtime.cluster.application', 'foveal_runtime.cluster.pipeline'} & set(sys.modules)\n"
        "for each in pkgutil.iter_modules(room.__path__): importlib.import_module(f'{room.__name__}.{each.name}')\n"
        "print(sorted({'ray', 'pyarrow', 'pandas', 'fastapi'} & set(sys.modules)), sorted(before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
