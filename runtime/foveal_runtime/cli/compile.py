"""`foveal compile`: measure how a bundle is best served on this machine, and remember it. Changes nothing in the bundle."""

from __future__ import annotations

import sys
from pathlib import Path

from foveal_runtime.cli.client import Json, print_json


def compile_(bundle: Path, /, *, provider: str = "cpu", seconds: float = 3.0, json: Json = False) -> None:
    """Measure workers x threads x batch for a bundle on this machine, and keep the best for `foveal serve`.

    The bundle is verified on this provider first. The plan is kept in ~/.cache/foveal (or FOVEAL_CACHE), by bundle and device.

    For example:

        foveal compile runs/edge/bundle-int8

    Args:
        bundle: folder that `foveal export` wrote.
        provider: cpu, cuda or tensorrt.
        seconds: measured for each setting.
        json: print one JSON document.
    """
    import asyncio
    from dataclasses import asdict

    from foveal_runtime.bundle import Bundle
    from foveal_runtime.engine import Engine
    from foveal_runtime.errors import CheckFailed
    from foveal_runtime.plan import Measurement, measure, plan_folder, write_plan
    from foveal_runtime.selftest import self_test
    from foveal_runtime.session import usable_cores

    opened = Bundle.open(bundle)
    report = self_test(Engine(opened, provider=provider))
    sys.stderr.write(report.summary() + "\n")
    if not report.passed:
        raise CheckFailed(f"{bundle} is out of tolerance on this machine; `foveal verify {bundle}` lists where")

    def note(m: Measurement) -> None:
        sys.stderr.write(
            f"  {m.workers} workers x {m.threads} threads, batch {m.max_batch:2d}: {m.studies_per_s:.1f} studies/s\n"
        )

    plan = asyncio.run(measure(opened, provider, cores=usable_cores(), seconds=seconds, note=note))
    path = write_plan(plan_folder(opened.sha256, provider), plan)
    sys.stderr.write(f"chosen: {plan.workers} workers x {plan.threads} threads, batch {plan.max_batch}; kept in {path}\n")
    if json:
        print_json({"plan": str(path), **asdict(plan)})
