"""Workers, threads and batch for one bundle on one machine: measured once, kept in a cache folder outside the bundle.

`foveal compile` measures with real worker processes and writes; `foveal serve` reads what fits its bundle and device. A plan
of another bundle, processor, core count, provider or ONNX Runtime is never found: they are in the folder's name.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.engine.cachefolder import check_private, private_folder
from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.serving.supervisor import Worker
    from foveal_runtime.study.study import Study

_BATCHES = (2, 4, 16)
"""The least is what one graph call takes on a CPU."""
_GOOD_ENOUGH = 0.9
"""Of the throughput of as many workers: within it, a smaller batch answers sooner."""
_WORTH_A_WORKER = 0.6
"""Of the best throughput: from there on, fewer workers are taken, since each holds the weights again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one setting reached."""

    workers: int
    threads: int
    max_batch: int
    studies_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ServePlan:
    """The chosen setting, and all that were measured."""

    workers: int
    threads: int
    max_batch: int
    measured: tuple[Measurement, ...]


def write_plan(folder: Path, plan: ServePlan) -> Path:
    """Keep a plan.

    Raises:
        ConfigError: the folder can't be written, or is not this user's alone.
    """
    private_folder(folder)
    path = folder / "plan.json"
    try:
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
        scratch.rename(path)
    except OSError as error:
        raise ConfigError(f"plan can't be kept in {folder} ({error.strerror}); set FOVEAL_CACHE to a writable folder") from None
    return path


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
        return ServePlan(**document, measured=measured)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def choose(measured: Sequence[Measurement]) -> ServePlan:
    """The fewest workers that reach 60 % of the best throughput; then the smallest batch within 10 % of theirs."""
    best = max(m.studies_per_s for m in measured)
    workers = min(m.workers for m in measured if m.studies_per_s >= _WORTH_A_WORKER * best)
    theirs = [m for m in measured if m.workers == workers]
    good = [m for m in theirs if m.studies_per_s >= _GOOD_ENOUGH * max(m.studies_per_s for m in theirs)]
    chosen = min(good, key=lambda m: (m.max_batch, -m.studies_per_s))
    return ServePlan(workers=chosen.workers, threads=chosen.threads, max_batch=chosen.max_batch, measured=tuple(measured))


async def measure(
    bundle: Bundle,
    provider: str,
    *,
    compiled: Compiled | None,
    cores: int,
    seconds: float,
    note: Callable[[Measurement], None],
) -> ServePlan:
    """Time workers × threads × batch on the bundle's golden photographs.

    Args:
        bundle: an opened bundle.
        provider: where the graphs run.
        compiled: what was compiled for it.
        cores: to divide among workers.
        seconds: for each setting.
        note: told of every measurement as it is made.

    Raises:
        FovealError: a worker can't be started.
    """
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.serving.worker import lanes_for
    from foveal_runtime.study.study import Modality

    golden = read_golden(bundle).studies
    studies = [study for study in golden if Modality.IMAGE in study.modalities] or list(golden)
    measured: list[Measurement] = []
    for workers in sorted({1, max(1, cores // 2), cores} if provider == "cpu" else {1}):
        threads = max(1, cores // workers)
        pool = [await _start(bundle, provider, threads, compiled) for _ in range(workers)]
        lanes = pool * (2 * lanes_for(provider, threads))  # as many batches wait in a worker as it runs, as when serving
        try:
            for batch in _BATCHES:
                rate = await _rate(lanes, studies, batch, seconds)
                measured.append(Measurement(workers=workers, threads=threads, max_batch=batch, studies_per_s=round(rate, 2)))
                note(measured[-1])
        finally:
            for worker in pool:
                worker.close()
    return choose(measured)


async def _start(bundle: Bundle, provider: str, threads: int, compiled: Compiled | None) -> Worker:
    from foveal_runtime.photo.imaging import ImageLimits
    from foveal_runtime.serving.host import CPU_ROWS
    from foveal_runtime.serving.supervisor import Worker
    from foveal_runtime.serving.worker import WorkerSpec

    spec = WorkerSpec(
        bundle=bundle.path,
        provider=provider,
        threads=threads,
        max_rows=CPU_ROWS if provider == "cpu" else max(_BATCHES),
        limits=ImageLimits(),
        compiled=compiled,
        self_test=False,
    )
    return await Worker.start(spec, start_timeout_s=600)


async def _rate(lanes: Sequence[Worker], studies: Sequence[Study], batch: int, seconds: float) -> float:
    from foveal_runtime.engine.answers import Ask
    from foveal_runtime.errors import FovealError

    chunk = [studies[i % len(studies)] for i in range(batch)]
    asks = [Ask()] * batch

    async def turn(worker: Worker, end: float) -> int:
        done = 0
        while True:
            answers = await worker.run(chunk, asks, timeout_s=600)
            done += sum(not isinstance(answer, FovealError) for answer in answers)
            if time.perf_counter() >= end:
                return done

    await asyncio.gather(*(turn(worker, 0.0) for worker in lanes))  # once, so that memory is allocated
    started = time.perf_counter()
    done = await asyncio.gather(*(turn(worker, started + seconds) for worker in lanes))
    return sum(done) / (time.perf_counter() - started)
