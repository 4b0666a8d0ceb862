"""What `foveal compile` made and measured of a bundle on this machine, kept in its cache folder. Measures nothing itself."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.engine.cachefolder import check_private, replace_file
from foveal_runtime.engine.compiled import Compiled, entry_folder, find_compiled
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.engine.providers import Provider, on_processor
from foveal_runtime.engine.variants import served
from foveal_runtime.errors import ConfigError, StaleError
from foveal_runtime.serving.memory import free_bytes

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.serving.spec import ModelSpec

log = logging.getLogger(__name__)

_GOOD_ENOUGH = 0.9
"""Of the best throughput: within it, more workers are taken, and of their batches the smallest, which answers soonest."""
_SHARE_OF_FREE = 0.5
"""Of the memory that the machine has free, for the workers."""
_WORKER_MB, _TIMES_WEIGHTS = 60, 3
"""What a worker is taken to need where nothing was measured: 56 MB with small graphs (benchmarks/worker_memory.py), and its own
weights, packed for the processor beside the file's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one setting reached."""

    workers: int
    threads: int
    max_batch: int
    studies_per_s: float
    memory_mb: float
    """Of all its workers together after that, shared pages once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServePlan:
    """All settings that were measured."""

    measured: tuple[Measurement, ...]

    def choose(self, memory_mb: float) -> tuple[Measurement, str]:
        """The setting to serve with, and why.

        Args:
            memory_mb: what the workers may take together.
        """
        fit = [m for m in self.measured if m.memory_mb <= memory_mb]
        if not fit:
            least = min(self.measured, key=lambda m: m.memory_mb)
            return least, f"none fits into {memory_mb:.0f} MB; it takes the least, {least.memory_mb:.0f} MB"
        best = max(fit, key=lambda m: m.studies_per_s)
        good = [m for m in fit if m.studies_per_s >= _GOOD_ENOUGH * best.studies_per_s]
        # Threads of one worker wait for its interpreter: beside a busy server 7 % more than is seen where workers are alone.
        chosen = min(good, key=lambda m: (-m.workers, m.max_batch, -m.studies_per_s))
        why = f"the fastest {best.studies_per_s:.1f} studies/s of what fits into {memory_mb:.0f} MB"
        if chosen is not best:
            better = (
                "more workers wait less for each other" if chosen.workers > best.workers else "a smaller batch answers sooner"
            )
            why = f"within {1 - _GOOD_ENOUGH:.0%} of {why}, and {better}"
        return chosen, why


def write_plan(folder: Path, plan: ServePlan) -> Path:
    """Keep a plan.

    Raises:
        ConfigError: the folder can't be written, or is not this user's alone.
    """
    path = folder / "plan.json"
    try:
        replace_file(path, json.dumps(asdict(plan), indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"plan can't be kept in {folder} ({error.strerror}); set FOVEAL_CACHE to a writable folder") from None
    return path


def planned(spec: ModelSpec, bundle: Bundle) -> ModelSpec:
    """With workers, threads and batch: as somebody chose, else as `foveal compile` measured, else a worker a core where the
    memory holds them.

    Args:
        spec: as configured.
        bundle: opened.
    """
    budget_mb = budget_of(spec.memory_mb)
    plan = None
    if not spec.chosen:
        try:
            plan = read_plan(entry_folder(bundle.sha256, spec.provider))
        except ConfigError as error:
            log.warning("what `foveal compile` measured is not used: %s", error)
    if plan is not None:
        setting, why = plan.choose(budget_mb)
        # Older versions measured larger batches on CPUs too.
        measured = 0 if on_processor(spec.provider) else setting.max_batch
        batch = replace(spec.batch, max_studies=measured)
        spec = replace(spec, workers=setting.workers, threads=setting.threads, batch=batch)
        log.info("%d workers x %d threads, batch %d: %s", spec.workers, spec.threads, spec.max_batch, why)
    spec = replace(spec, batch=replace(spec.batch, max_studies=spec.max_batch))
    if spec.workers:
        return spec
    if not on_processor(spec.provider) or spec.threads:
        return replace(spec, workers=1)
    each_mb = _WORKER_MB + _TIMES_WEIGHTS * sum(bundle.graph_path(name).stat().st_size for name in bundle.manifest.graphs) / 1e6
    return replace(spec, workers=max(1, min(usable_cores(), int(budget_mb / each_mb))))


def budget_of(memory_mb: float) -> float:
    """Megabytes that worker processes may take together: as asked, or for 0 half of what the machine has free."""
    if memory_mb:
        return memory_mb
    free = free_bytes()
    return math.inf if free is None else _SHARE_OF_FREE * free / 1e6


def read_plan(folder: Path) -> ServePlan | None:
    """The plan kept there; None when there is none, or one that can't be read: it is only a cache.

    Raises:
        ConfigError: the folder is not this user's alone.
    """
    if not (folder / "plan.json").exists():
        return None
    check_private(folder)
    try:
        document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        measured = tuple(Measurement(**entry) for entry in document.pop("measured"))
        return ServePlan(measured=measured) if measured else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


async def loaded(bundle: Bundle, provider: Provider) -> tuple[Bundle, Compiled | None]:
    """The bundle as it is served on this device, and what `foveal compile` made of it; copies of other graphs are dropped."""
    compiled = await compiled_graphs(bundle, provider.value)
    chosen = served(bundle, provider, compiled)
    if chosen.served:
        log.info("served of each graph: %s", ", ".join(f"{graph} {name}" for graph, name in chosen.served.items()))
    if bundle.sealed is not None:
        needed = set() if compiled is not None else {graph.file for graph in chosen.manifest.graphs.values()}
        there = (*bundle.manifest.graphs.values(), *bundle.manifest.every_variant().values())
        bundle.sealed.drop([graph.file for graph in there if graph.file not in needed])
    return chosen, compiled


async def compiled_graphs(bundle: Bundle, provider: str) -> Compiled | None:
    """What `foveal compile` made of a bundle on this device; None when it has not, or when that can't be trusted.

    An entry that is stale or damaged is compiled again, in a process of its own so that this one stays small.
    """
    try:
        return await asyncio.to_thread(find_compiled, bundle, provider, own=True)
    except ConfigError as error:
        log.warning("compiled graphs are not used: %s", error)
        return None
    except StaleError as error:
        log.warning("compiling again: %s", error)
    command = (sys.executable, "-m", "foveal_runtime.cli.main", "compile", bundle.path, "--provider", provider, "--graphs-only")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        if await process.wait() == 0:
            return await asyncio.to_thread(find_compiled, bundle, provider, own=True)
    except (ConfigError, StaleError) as error:
        log.warning("%s", error)
    finally:
        if process.returncode is None:
            process.kill()
    log.warning("the graphs could not be compiled again; loading the bundle's own")
    return None
