"""`foveal serve --ray`: what is said of it. The work is `cluster`'s."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from foveal_runtime.bundle.honesty import warnings_of
from foveal_runtime.cli.document import print_json
from foveal_runtime.cluster.running import run

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.cluster.application import Application
    from foveal_runtime.cluster.options import RayOptions
    from foveal_runtime.serving.config import ServeConfig


def serve_on_ray(config: ServeConfig, options: RayOptions, *, json: bool) -> int:
    """Serve until SIGTERM; the exit code.

    Args:
        config: of the server.
        options: of the cluster.
        json: print one document once it serves.

    Raises:
        FovealError: it can't be served.
    """

    def announce(served: Application, bundle: Bundle) -> None:
        manifest = bundle.manifest
        for warning in warnings_of(manifest):
            sys.stderr.write(f"warning: {warning}\n")
        replicas = f"{options.replicas} to {options.most}" if options.most > options.replicas else str(options.replicas)
        what = (
            f"{manifest.profile} {manifest.precision.value}, space {manifest.space_id[:12]}, replicas {replicas}, by Ray Serve"
        )
        sys.stderr.write(f"serving {bundle.path} ({what}) on {config.address}\n")
        sys.stderr.flush()
        if json:
            print_json({"address": config.address, "bundle": str(bundle.path), "bundle_sha256": bundle.sha256})
            sys.stdout.flush()

    run(config, options, announce)
    return 0
