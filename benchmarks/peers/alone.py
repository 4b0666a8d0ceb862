"""What the machine can do without any server: a process a core, each decoding and grading as fast as it can."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from foveal_runtime.serving.spec import CPU_ROWS
from peers.grader import Grader

_READY_S = 120.0


def alone_per_s(bundle: Path, cores: Sequence[int], photographs: Sequence[bytes], seconds: float) -> float:
    """Photographs that processes of foveal's engine grade a second, one on each of the cores, with nobody to ask them.

    Args:
        bundle: whose compiled graphs are used.
        cores: at least one.
        photographs: in turn.
        seconds: of the measurement.

    Raises:
        RuntimeError: a process failed; it said why.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(cores))
    rates: Queue[float] = context.Queue()
    processes = [context.Process(target=_grade, args=(bundle, core, photographs, seconds, ready, rates)) for core in cores]
    for process in processes:
        process.start()
    for process in processes:
        process.join(_READY_S + 2 * seconds)
    if any(process.exitcode != 0 for process in processes):
        for process in processes:
            process.kill()
        raise RuntimeError("the engine alone could not be measured: a process failed")
    return sum(rates.get(timeout=1) for _ in processes)


def _grade(bundle: Path, core: int, photographs: Sequence[bytes], seconds: float, ready: Barrier, rates: Queue[float]) -> None:
    os.sched_setaffinity(0, {core})
    grader, turn = Grader(bundle), itertools.cycle(photographs)

    def some() -> list[bytes]:
        return list(itertools.islice(turn, CPU_ROWS))

    grader(some())
    ready.wait(_READY_S)
    done, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        done += len(grader(some()))
    rates.put(done / spent)
