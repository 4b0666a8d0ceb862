"""What the machine can do without any server: a process a core, each decoding and grading as fast as it can."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
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
    context = get_context("spawn")
    begun = (bundle, context.Barrier(len(cores)))
    with ProcessPoolExecutor(len(cores), context, initializer=_begin, initargs=begun) as pool:
        try:
            return sum(pool.map(_per_s, cores, itertools.repeat(photographs), itertools.repeat(seconds)))
        except BrokenProcessPool:
            raise RuntimeError("the engine alone could not be measured: a process failed") from None


_begun: list[tuple[Grader, Barrier]] = []
"""Of a process: its engine, and where all wait for each other."""


def _begin(bundle: Path, ready: Barrier) -> None:
    _begun.append((Grader(bundle), ready))


def _per_s(core: int, photographs: Sequence[bytes], seconds: float) -> float:
    os.sched_setaffinity(0, {core})
    (grader, ready), turn = _begun[0], itertools.cycle(photographs)

    def some() -> list[bytes]:
        return list(itertools.islice(turn, CPU_ROWS))

    grader(some())
    ready.wait(_READY_S)
    done, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        done += len(grader(some()))
    return done / spent
