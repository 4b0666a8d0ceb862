"""`foveal doctor`: what this machine is, and whether a bundle is right on it. Prints findings; finds nothing itself."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import fitted, width

if TYPE_CHECKING:
    from foveal_runtime.engine.finding import Finding


def doctor(
    bundle: Path | None = None,
    /,
    *,
    config: Path | None = None,
    provider: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tokens: Path | None = None,
    json: Json = False,
) -> int:
    """Check this machine: processor, memory, disk, open files, clock, libraries, and how far workers are sandboxed here.

    With a bundle also what the bundle is right for, and whether its golden studies replay here. With a configuration what it
    names: bundle, certificates, keys, archive; FOVEAL_SERVE_ variables count, as they do for `foveal serve`.
    Each finding says what to do. Exit code 0 when nothing is wrong, else 1.

    For example:

        foveal doctor
        foveal doctor runs/edge/bundle-int8 --json
        runuser -u foveal -- foveal doctor --config /etc/foveal/serve.toml
        foveal doctor --tls-cert server.pem --tls-key server.key --tokens tokens.json

    Args:
        bundle: folder that `foveal export` wrote.
        config: TOML file of `foveal serve`.
        provider: cpu (default), openvino, cuda, tensorrt, tensorrt-rtx, or auto: the best that is there.
        tls_cert: PEM certificate chain that a server is to show.
        tls_key: its PEM private key.
        tokens: file of `foveal token`.
        json: print one JSON document.
    """
    from foveal_runtime.engine.doctor import bundle_findings, machine_findings
    from foveal_runtime.engine.finding import healthy
    from foveal_runtime.engine.machine import sandbox
    from foveal_runtime.engine.processor import this_processor
    from foveal_runtime.rpc.doctor import server_findings
    from foveal_runtime.rpc.findings import access_findings
    from foveal_runtime.sandbox.confine import Sandbox
    from foveal_runtime.serving.settings import read_config
    from foveal_runtime.serving.workerspec import policy_of

    served = None if config is None else read_config(config, {"bundle": bundle, "provider": provider}, os.environ)
    bundle = bundle if served is None else served.bundle
    asked = provider or ("cpu" if served is None else served.provider)
    findings = [*machine_findings(), sandbox(policy_of(asked, Sandbox.AUTO if served is None else served.sandbox))]
    if served is not None:
        findings += server_findings(served)
    if bundle is not None:
        findings += bundle_findings(bundle, provider=asked)
    findings += access_findings(tls_cert, tls_key, tokens)
    fine = healthy(findings)
    if json:
        here = this_processor()
        document: dict[str, Any] = {
            "healthy": fine,
            "processor": {**asdict(here), "features": sorted(here.features), "saturates": here.saturates, "class": str(here)},
            "findings": [finding.to_json() for finding in findings],
        }
        print_json(document)
    else:
        sys.stdout.write(fitted(screen(findings), width()))
    return 0 if fine else 1


def screen(findings: list[Finding]) -> str:
    """A line a finding, and its mend below it."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status.value:<9}{finding.name:<16}{finding.says}")
        if finding.mend:
            lines.append(f"{'':<25}-> {finding.mend}")
    return "\n".join(lines) + "\n"
