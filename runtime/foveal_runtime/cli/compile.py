"""`foveal compile`: compile a bundle's graphs for this machine, measure how they are best served, and remember both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json


def compile_(
    bundle: Path,
    /,
    *,
    provider: str = "cpu",
    seconds: float = 4.0,
    memory: str = "",
    graphs_only: Annotated[bool, Parameter(name=["--graphs-only"], negative=())] = False,
    json: Json = False,
) -> None:
    """Compile a bundle's graphs on this machine, measure workers x threads x batch, and keep both for `foveal serve`.

    cpu keeps the graphs as ONNX Runtime optimised them; cuda and tensorrt build what their provider caches. The golden
    studies are replayed through the result before anything is kept. Everything lies in ~/.cache/foveal (or FOVEAL_CACHE),
    by bundle, device and library versions; the bundle itself is not changed. Exit code 1 when compiled graphs are out of
    tolerance.

    For example:

        foveal compile runs/edge/bundle-int8

    Args:
        bundle: folder that `foveal export` wrote.
        provider: cpu, cuda or tensorrt.
        seconds: measured for each setting, over both rounds.
        memory: what the worker processes may take together, such as 512MB or 2GB; default: half of what the machine has free.
            All settings are kept, and `foveal serve --memory` chooses among them anew.
        graphs_only: compile, and measure nothing.
        json: print one JSON document.
    """
    import asyncio
    import time
    from dataclasses import asdict

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.compiled import entry_folder
    from foveal_runtime.engine.compiler import compile_bundle
    from foveal_runtime.engine.ort import usable_cores
    from foveal_runtime.engine.session import provider_of
    from foveal_runtime.serving.kept import Measurement, budget_of, write_plan
    from foveal_runtime.serving.memory import megabytes
    from foveal_runtime.serving.plan import measure

    where = provider_of(provider)
    budget_mb = megabytes(memory) if memory else budget_of(0)
    opened = Bundle.open(bundle)
    started = time.perf_counter()
    compiled, report = compile_bundle(opened, where, threads=usable_cores())
    spent_s = time.perf_counter() - started
    sys.stderr.write(report.summary() + "\n")
    sys.stderr.write(f"compiled {compiled.bytes / 1e6:.1f} MB in {spent_s:.1f} s; kept in {compiled.folder}\n")
    document = {"graphs": str(compiled.folder), "bytes": compiled.bytes, "seconds": round(spent_s, 2)}
    if not graphs_only:

        def note(m: Measurement) -> None:
            sys.stderr.write(
                f"  {m.workers} workers x {m.threads} threads, batch {m.max_batch:2d}: {m.studies_per_s:6.1f} studies/s, "
                f"{m.memory_mb:.0f} MB\n"
            )

        plan = asyncio.run(measure(opened, provider, compiled=compiled, cores=usable_cores(), seconds=seconds, note=note))
        path = write_plan(entry_folder(opened.sha256, provider), plan)
        chosen, why = plan.choose(budget_mb)
        sys.stderr.write(
            f"chosen: {chosen.workers} workers x {chosen.threads} threads, batch {chosen.max_batch}: {why}; kept in {path}\n"
        )
        document |= {"plan": str(path), **asdict(chosen), "why": why, **asdict(plan)}
    if json:
        print_json(document)
