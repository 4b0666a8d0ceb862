"""Workers, threads and batch for one bundle on one machine, measured with real worker processes by `foveal compile`.

What is found is kept (`kept`) for who serves the bundle on this machine.
"""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal_runtime.engine.providers import on_processor
from foveal_runtime.serving.kept import Measurement, ServePlan
from foveal_runtime.serving.memory import proportional_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.answers import Ask
    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.serving.supervisor import Worker
    from foveal_runtime.study.study import Study

_GPU_BATCHES = (2, 4, 16)
_ROUNDS = 2
"""Over all settings, of which the better counts: what else the machine does slows whatever is measured just then."""
_CAMERA_PX = 1536
"""Longer side of the photographs that are sent: golden ones are kept small, and decoding is a good part of a study's time."""


async def measure(
    bundle: Bundle,
    provider: str,
    *,
    compiled: Compiled | None,
    cores: int,
    seconds: float,
    note: Callable[[Measurement], None],
) -> ServePlan:
    """Time workers x threads, and on a GPU batches, on the bundle's golden photographs, enlarged to a camera's size.

    Args:
        bundle: an opened bundle.
        provider: where the graphs run.
        compiled: what was compiled for it.
        cores: to divide among workers.
        seconds: for each setting, over all rounds.
        note: told of every measurement as it is made, once a round.

    Raises:
        FovealError: a worker can't be started.
    """
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.engine.answers import Ask, VectorKind
    from foveal_runtime.serving.spec import CPU_ROWS
    from foveal_runtime.serving.workerspec import lanes_for
    from foveal_runtime.study.study import Modality

    processor = on_processor(provider)
    batches = (CPU_ROWS,) if processor else _GPU_BATCHES
    ask = Ask() if bundle.manifest.trained_heads else Ask(frozenset({VectorKind.JOINT}), grade=False)
    golden = read_golden(bundle).studies
    studies = [_enlarged(study) for study in golden if Modality.IMAGE in study.modalities] or list(golden)
    best: dict[tuple[int, int], Measurement] = {}
    for _ in range(_ROUNDS):
        for workers in sorted({1, max(1, cores // 2), cores} if processor else {1}):
            threads = max(1, cores // workers)
            pool = [await _start(bundle, provider, threads, compiled) for _ in range(workers)]
            lanes = pool * (2 * lanes_for(provider, threads))  # as many batches wait in a worker as it runs, as when serving
            try:
                for batch in batches:
                    rate = await _rate(lanes, studies, [ask] * batch, seconds / _ROUNDS)
                    memory = sum(proportional_bytes(worker.pid) for worker in pool)
                    found = Measurement(
                        workers=workers,
                        threads=threads,
                        max_batch=batch,
                        studies_per_s=round(rate, 2),
                        memory_mb=round(memory / 1e6, 1),
                    )
                    note(found)
                    best[workers, batch] = max(best.get((workers, batch), found), found, key=lambda m: m.studies_per_s)
            finally:
                for worker in pool:
                    worker.close()
    return ServePlan(measured=tuple(best.values()))


def _enlarged(study: Study) -> Study:
    """The study with its photograph as a camera would send it."""
    from PIL import Image

    assert study.image is not None
    picture = Image.open(io.BytesIO(study.image)).convert("RGB")
    scale = _CAMERA_PX / max(picture.size)
    buffer = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=90
    )
    return replace(study, image=buffer.getvalue())


async def _start(bundle: Bundle, provider: str, threads: int, compiled: Compiled | None) -> Worker:
    from foveal_runtime.photo.imaging import ImageLimits
    from foveal_runtime.serving.spec import CPU_ROWS
    from foveal_runtime.serving.supervisor import Worker
    from foveal_runtime.serving.workerspec import Replay, WorkerSpec

    spec = WorkerSpec(
        bundle=bundle,
        provider=provider,
        threads=threads,
        max_rows=CPU_ROWS if on_processor(provider) else max(_GPU_BATCHES),
        limits=ImageLimits(),
        compiled=compiled,
        replay=Replay.NONE,
    )
    return await Worker.start(spec, start_timeout_s=600)


async def _rate(lanes: Sequence[Worker], studies: Sequence[Study], asks: Sequence[Ask], seconds: float) -> float:
    from foveal_runtime.errors import FovealError

    chunk = [studies[i % len(studies)] for i in range(len(asks))]

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
