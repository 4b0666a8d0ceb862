"""`foveal doctor`: what this machine is, and whether a bundle is right on it. Prints findings; finds nothing itself."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import fitted, width

if TYPE_CHECKING:
    from foveal_runtime.engine.doctor import Finding


def doctor(bundle: Path | None = None, /, *, provider: str = "cpu", json: Json = False) -> int:
    """Check this machine: processor and its class, cores, memory, libraries, and what that means for INT8.

    With a bundle also what the bundle is right for, and whether its golden studies replay here.
    Each finding says what to do. Exit code 0 when nothing is wrong, else 1.

    For example:

        foveal doctor
        foveal doctor runs/edge/bundle-int8 --json

    Args:
        bundle: folder that `foveal export` wrote.
        provider: cpu, openvino, cuda, tensorrt, tensorrt-rtx, or auto: the best that is there; for the golden studies.
        json: print one JSON document.
    """
    from foveal_runtime.engine.doctor import bundle_findings, healthy, machine_findings
    from foveal_runtime.engine.processor import this_processor

    findings = machine_findings()
    if bundle is not None:
        findings += bundle_findings(bundle, provider=provider)
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
