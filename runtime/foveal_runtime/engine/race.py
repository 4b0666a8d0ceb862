"""Time work in turns: a bundle's graphs under several providers or in several variants, on like studies. Chooses nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from foveal_runtime.engine.answers import Prepared, VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.providers import Provider

ROUNDS = 9
_KINDS = frozenset({VectorKind.JOINT})
_Name = TypeVar("_Name", bound=Hashable)


def in_turns(
    works: Mapping[_Name, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[_Name, float]:
    """Milliseconds of each piece of work, the median of all rounds; a first one is not counted.

    Args:
        works: by name.
        rounds: what else the machine does falls on all alike.
        clock: seconds.
    """
    for work in works.values():
        work()  # memory is allocated and kernels are chosen for every shape
    taken: dict[_Name, list[float]] = {name: [] for name in works}
    for turn in range(rounds):
        order = list(works.items())
        for name, work in order if turn % 2 else reversed(order):
            started = clock()
            work()
            taken[name].append((clock() - started) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


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

    def through(engine: Engine) -> None:
        for each in batches:
            engine.run(each, kinds=_KINDS)

    works = {provider: partial(through, engine) for provider, engine in engines.items()}
    return {provider: ms / len(studies) for provider, ms in in_turns(works, rounds, clock).items()}


def race_graphs(
    engines: Mapping[str, Engine], studies: Sequence[Prepared], *, rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """Milliseconds a study in each graph, the median of all rounds, by variant and graph.

    Args:
        engines: of one bundle, by the variant that each serves; each graph is timed by its engine's clock.
        studies: prepared by any of them.
        rounds: over all studies, one study a call; a first one is not counted.
    """
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in engines}

    def through(name: str, engine: Engine) -> None:
        sums: dict[str, float] = {}
        for study in studies:
            outcome = engine.run([study], kinds=_KINDS, grade=bool(engine.manifest.trained_heads))[0]
            for graph, ms in outcome.graph_ms.items():
                sums[graph] = sums.get(graph, 0.0) + ms / len(studies)
        for graph, ms in sums.items():
            taken[name].setdefault(graph, []).append(ms)

    in_turns({name: partial(through, name, engine) for name, engine in engines.items()}, rounds)
    return {name: {graph: statistics.median(ms[1:]) for graph, ms in by_graph.items()} for name, by_graph in taken.items()}
