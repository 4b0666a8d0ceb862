"""`foveal compile`: compile a bundle's graphs for this machine, measure how they are best served, and remember both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.choice import Choice
    from foveal_runtime.engine.compiled import Compiled


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
    """Compile a bundle's graphs here, measure workers x threads (on a GPU batches), and keep both for `foveal serve`.

    Of a graph that the bundle has in several variants the fastest here is taken that holds the tolerances; all are timed.
    cpu keeps the graphs as ONNX Runtime optimised them; the others build what their provider caches. auto takes the GPU where
    one can be used, and otherwise times every provider of the processor that is installed: one that is 1.1 times as fast as
    cpu, within the same tolerances, is what `foveal serve --provider auto` takes from then on. The golden studies are
    replayed through the result before anything is kept. Everything lies in ~/.cache/foveal (or FOVEAL_CACHE), by bundle,
    device and library versions; the bundle itself is not changed. Exit code 1 when compiled graphs are out of tolerance.

    For example:

        foveal compile runs/edge/bundle-int8
        foveal compile runs/edge/bundle-int8 --provider auto

    Args:
        bundle: folder that `foveal export` wrote.
        provider: cpu, openvino, cuda, tensorrt, tensorrt-rtx, or auto.
        seconds: measured for each setting, over both rounds.
        memory: what the worker processes may take together, such as 512MB or 2GB; default: half of what the machine has free.
            All settings are kept, and `foveal serve --memory` chooses among them anew.
        graphs_only: compile, and measure nothing.
        json: print one JSON document.
    """
    import asyncio
    from dataclasses import asdict

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.choice import AUTO, resolve
    from foveal_runtime.engine.compiled import entry_folder
    from foveal_runtime.engine.ort import usable_cores
    from foveal_runtime.engine.providers import on_processor
    from foveal_runtime.serving.kept import Measurement, budget_of, write_plan
    from foveal_runtime.serving.memory import megabytes
    from foveal_runtime.serving.plan import measure

    budget_mb = megabytes(memory) if memory else budget_of(0)
    opened = Bundle.open(bundle)
    choice = resolve(provider, opened)
    if provider == AUTO and on_processor(choice.provider):
        choice = _raced(opened)
    if provider == AUTO:
        sys.stderr.write(f"provider {choice.provider.value}: {choice.why}\n")
    where = choice.provider.value
    compiled, document = _compiled(opened, choice)
    if not graphs_only:

        def note(m: Measurement) -> None:
            sys.stderr.write(
                f"  {m.workers} workers x {m.threads} threads, batch {m.max_batch:2d}: {m.studies_per_s:6.1f} studies/s, "
                f"{m.memory_mb:.0f} MB\n"
            )

        plan = asyncio.run(measure(opened, where, compiled=compiled, cores=usable_cores(), seconds=seconds, note=note))
        path = write_plan(entry_folder(opened.sha256, where), plan)
        chosen, why = plan.choose(budget_mb)
        sys.stderr.write(
            f"chosen: {chosen.workers} workers x {chosen.threads} threads, batch {chosen.max_batch}: {why}; kept in {path}\n"
        )
        document |= {"plan": str(path), **asdict(chosen), "why": why, **asdict(plan)}
    if json:
        print_json(document)


def _compiled(bundle: Bundle, choice: Choice) -> tuple[Compiled, dict[str, object]]:
    """The graphs compiled for a provider, and what the command's document says of that."""
    import time

    from foveal_runtime.engine.compiler import compile_bundle
    from foveal_runtime.engine.ort import usable_cores
    from foveal_runtime.engine.variants import served

    started = time.perf_counter()
    compiled, report = compile_bundle(bundle, choice.provider, threads=usable_cores())
    spent_s = time.perf_counter() - started
    sys.stderr.write(report.summary() + "\n")
    variants = served(bundle, choice.provider, compiled).served
    for graph, name in variants.items():
        timed = ", ".join(f"{each} {ms[graph]:.2f} ms" for each, ms in compiled.ms.items())
        sys.stderr.write(f"  {graph}: serving {name} of {timed}\n")
    sys.stderr.write(f"compiled {compiled.bytes / 1e6:.1f} MB in {spent_s:.1f} s; kept in {compiled.folder}\n")
    return compiled, {
        "provider": choice.provider.value,
        "provider_why": choice.why,
        "graphs": str(compiled.folder),
        "bytes": compiled.bytes,
        "seconds": round(spent_s, 2),
        "self_test": report.to_json(),
        "variants": dict(variants),
        "variants_ms": {name: dict(ms) for name, ms in compiled.ms.items()},
    }


def _raced(bundle: Bundle) -> Choice:
    """The fastest provider of the processor that is within tolerance, measured now and kept."""
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.engine.choice import keep, unusable
    from foveal_runtime.engine.compiler import compile_bundle
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.providers import Provider, on_processor
    from foveal_runtime.engine.race import race
    from foveal_runtime.errors import BundleError, CheckFailed

    engines = {}
    for provider in Provider:
        if not on_processor(provider) or unusable(provider):
            continue
        try:
            compiled, _ = compile_bundle(bundle, provider, threads=1)
        except (BundleError, CheckFailed) as error:
            if provider is Provider.CPU:
                raise
            sys.stderr.write(f"{provider.value} is left out: {error}\n")
            continue
        engines[provider] = Engine(bundle, provider=provider, threads=1, compiled=compiled)
    first = engines[Provider.CPU]
    return keep(bundle, race(engines, [first.prepare(study) for study in read_golden(bundle).studies]))
