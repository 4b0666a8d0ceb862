"""Milliseconds a study of one bundle under one provider, or of PyTorch, in a process of its own. Compares nothing.

    python -m foveal_export.gpucheck.speed BUNDLE --provider cuda --batches 1,8,32
    python -m foveal_export.gpucheck.speed BUNDLE --pytorch RUN --batches 1,8,32

The studies are the bundle's golden ones that have every modality, decoded before the clock starts. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.study.study import Study

_LEAST_RUNS = 5


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--pytorch", type=Path, default=None)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    batches = [int(part) for part in given.batches.split(",")]
    if given.pytorch is None:
        device, ms = given.provider, of_bundle(bundle, given.provider, batches, given.seconds)
    else:
        device, ms = of_pytorch(given.pytorch, _fullest(bundle), batches, given.seconds, half=given.half)
    sys.stdout.write(json.dumps({"device": device, "ms_per_study": {str(batch): value for batch, value in ms.items()}}) + "\n")
    return 0


def of_bundle(bundle: Bundle, provider: str, batches: Sequence[int], seconds: float) -> dict[int, float]:
    """Milliseconds a study by batch, through the graphs that were compiled where there are some.

    Args:
        bundle: an opened bundle.
        provider: a provider's name.
        batches: studies in a forward pass.
        seconds: for each batch.

    Raises:
        FovealError: the bundle can't be run there.
    """
    compiled = find_compiled(bundle, provider)
    engine = Engine(bundle, provider=provider, threads=usable_cores(), max_rows=max(batches), compiled=compiled)
    prepared = [engine.prepare(study) for study in _fullest(bundle)]

    def run(batch: int) -> None:
        engine.run([prepared[i % len(prepared)] for i in range(batch)], kinds=frozenset({VectorKind.JOINT}))

    return {batch: _median_ms(lambda batch=batch: run(batch), seconds) / batch for batch in batches}  # type: ignore[misc]


def of_pytorch(
    run: Path, studies: Sequence[Study], batches: Sequence[int], seconds: float, *, half: bool
) -> tuple[str, dict[int, float]]:
    """The device that PyTorch takes here, and milliseconds a study by batch.

    Args:
        run: that the bundle was exported from.
        studies: with every modality.
        batches: studies in a forward pass.
        seconds: for each batch.
        half: let PyTorch compute in FP16 where it holds that safe (autocast).

    Raises:
        DataError: the run can't be read.
    """
    import torch

    from foveal_train.runs.reference import Reference
    from foveal_train.runs.run import Run

    opened = Run.open(run)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(usable_cores())
    reference = Reference(opened.model.to(device), opened.tokenizer_json, opened.info)
    prepared = [reference.prepare(study) for study in studies]

    def pass_(batch: int) -> None:
        rows = [prepared[i % len(prepared)] for i in range(batch)]
        precision = torch.autocast(device, torch.float16) if half else contextlib.nullcontext()
        with precision:
            reference.run_prepared(rows, frozenset(), batch=batch)  # its answers come back as arrays: nothing is left running

    ms = {batch: _median_ms(lambda batch=batch: pass_(batch), seconds) / batch for batch in batches}  # type: ignore[misc]
    return device, ms


def _fullest(bundle: Bundle) -> list[Study]:
    studies = read_golden(bundle).studies
    most = max(len(study.modalities) for study in studies)
    return [study for study in studies if len(study.modalities) == most]


def _median_ms(work: Callable[[], None], seconds: float) -> float:
    work()  # kernels are chosen and memory is allocated
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1e3)
    return round(statistics.median(times), 4)


if __name__ == "__main__":
    sys.exit(main())
