"""What a worker's sandbox costs: processor time of a start and of a study, two workers taking turns, one in it and one not.

python benchmarks/sandbox_cost.py models/edge PHOTOGRAPH…
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import Ask
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.sandbox.confine import Sandbox
from foveal_runtime.serving.supervisor import Worker
from foveal_runtime.serving.workerspec import Replay, WorkerSpec
from foveal_runtime.study.study import Study
from processes import cpu_s

_MODES = (Sandbox.OFF, Sandbox.AUTO)
_STARTS, _ROUNDS = 6, 12


async def start(bundle: Bundle, mode: Sandbox) -> Worker:
    """A worker that has replayed some golden studies."""
    spec = WorkerSpec(
        bundle=bundle, provider="cpu", threads=1, max_rows=2, limits=ImageLimits(), replay=Replay.SOME, sandbox=mode
    )
    return await Worker.start(spec, start_timeout_s=120)


async def main() -> None:
    """Print medians."""
    bundle = Bundle.open(sys.argv[1])
    studies = [Study(image=Path(name).read_bytes()) for name in sys.argv[2:]]
    starts: dict[Sandbox, list[float]] = {mode: [] for mode in _MODES}
    for _ in range(_STARTS):
        for mode in _MODES:
            worker = await start(bundle, mode)
            starts[mode].append(cpu_s([worker.pid]))
            await asyncio.to_thread(worker.close)
    workers = {mode: await start(bundle, mode) for mode in _MODES}
    studied: dict[Sandbox, list[float]] = {mode: [] for mode in _MODES}
    walls: dict[Sandbox, list[float]] = {mode: [] for mode in _MODES}
    for turn in range(_ROUNDS + 1):
        for mode, worker in workers.items():
            before, began = cpu_s([worker.pid]), time.perf_counter()
            await worker.run(studies, [Ask()] * len(studies), timeout_s=120)
            if turn:
                studied[mode].append((cpu_s([worker.pid]) - before) / len(studies))
                walls[mode].append((time.perf_counter() - began) / len(studies))
    for mode, worker in workers.items():
        times = [statistics.median(found[mode]) for found in (starts, studied, walls)]
        print(
            f"{mode.value}: start {times[0]:.2f} s CPU, study {times[1] * 1e3:.1f} ms CPU, {times[2] * 1e3:.1f} ms on the clock"
        )
        await asyncio.to_thread(worker.close)


if __name__ == "__main__":
    asyncio.run(main())
