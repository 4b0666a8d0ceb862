"""Time a bundle's graphs under several providers, in turns on the same prepared studies. Chooses nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from foveal_runtime.engine.answers import Prepared, VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.providers import Provider

ROUNDS = 9
_KINDS = frozenset({VectorKind.JOINT})


def race(
    engines: Mapping[Provider, Engine],
    studies: Sequence[Prepared],
    *,
    rounds: int = ROUNDS,
    batch: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[Provider, float]:
    """Milliseconds a study in the graphs, the median of all rounds, by provider.

    Args:
        engines: of one bundle.
        studies: prepared by any of them.
        rounds: over all studies; what else the machine does falls on all providers alike.
        batch: studies in a forward pass.
        clock: seconds; by default the processor time of all threads of this process, which others on the machine hardly move.
    """
    batches = [studies[i : i + batch] for i in range(0, len(studies), batch)]
    for engine in engines.values():
        for each in batches:
            engine.run(each, kinds=_KINDS)  # memory is allocated and kernels are chosen for every shape
    taken: dict[Provider, list[float]] = {provider: [] for provider in engines}
    for turn in range(rounds):
        order = list(engines.items())
        for provider, engine in order if turn % 2 else reversed(order):
            started = clock()
            for each in batches:
                engine.run(each, kinds=_KINDS)
            taken[provider].append((clock() - started) * 1e3 / len(studies))
    return {provider: statistics.median(times) for provider, times in taken.items()}
