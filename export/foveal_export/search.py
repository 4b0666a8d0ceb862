"""Give precision back, block by block, until an INT8 artefact is within its budget. Knows no model.

First it is found out which graph is to blame: the one that, wholly in floating point, would do. Its blocks are ranked by the
error that each removes (one tapped pass of both graphs over a few calibration studies) over what it costs. The first of them
return to floating point, twice as many each time; then their number is bisected, and what was not needed is taken back.
Every step is measured as the artefact it would be, on validation studies: the verdict on others is not the search's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from foveal_export.graphs import observers
from foveal_export.graphs.blocks import work
from foveal_export.parity.drift import drift
from foveal_export.parity.outcome import Candidate, GivenBack, Outcome
from foveal_export.quantise.plan import ExportPlan, Mode
from foveal_runtime.engine.race import in_turns

if TYPE_CHECKING:
    from foveal_export.judge import Judge

Blocks = tuple[tuple[str, str], ...]
"""(graph, block) each."""
Missed = tuple[int, float]
"""How many limits, and by how much together, in limits."""
_ROUNDS = 15
_PRUNED = 8
"""Blocks that are tried without, at most: of a large model each try takes a minute."""


def search(judge: Judge, folder: Path, plan: ExportPlan, outcome: Outcome) -> tuple[ExportPlan, Outcome, tuple[Candidate, ...]]:
    """The cheapest plan within the budget that is found, or the one with every block in floating point when none is.

    Args:
        judge: measures plans.
        folder: graphs are written there; it holds the returned plan's in the end.
        plan: the one that missed.
        outcome: its measurement.

    Returns:
        Plan, its measurement, and every point that was tried; the last one is the plan's.
    """
    attempts = _Attempts(judge, folder, plan, outcome)
    ranked = attempts.by_blame(rank(judge, plan, outcome.graphs))
    if not ranked:
        return plan, outcome, attempts.tried
    enough = _least(attempts, ranked)
    return attempts.settle(ranked if enough is None else _pruned(attempts, enough))


def keep(plan: ExportPlan, chosen: Sequence[tuple[str, str]]) -> ExportPlan:
    """`plan` with `chosen` (graph, block) in floating point as well."""
    changed = {
        name: graph.model_copy(update={"keep": (*graph.keep, *(block for owner, block in chosen if owner == name))})
        for name, graph in plan.graphs.items()
    }
    return plan.model_copy(update={"graphs": changed})


def rank(judge: Judge, plan: ExportPlan, built: Mapping[str, onnx.ModelProto]) -> list[tuple[str, str]]:
    """(graph, block), those first that remove most error for their cost; what is in floating point already is left out.

    The error of a block is what it adds to the squared relative error behind it, as errors of independent roundings add up; the
    mean over the studies. Its cost is its share of the graph's multiply-adds and of its weights: milliseconds and bytes as far
    as they are the same on every machine and in every run.

    Args:
        judge: holds the FP32 graphs and the calibration studies.
        plan: what is quantised.
        built: the graphs under that plan.
    """
    found: list[tuple[float, str, str]] = []
    for name, proto in judge.exact.items():
        graph = plan.graphs[name]
        if graph.mode is Mode.FLOAT:
            continue
        rows = drift(proto, built[name], judge.calibration[name])
        shares = _shares(proto)
        before = np.zeros(len(rows))
        for block in rows[0]:
            error = np.asarray([row[block] for row in rows]) ** 2
            if block not in graph.keep:
                found.append((float((error - before).mean()) / shares[block], name, block))
            before = error
    return [(name, block) for _, name, block in sorted(found, key=lambda row: -row[0])]


def _shares(proto: onnx.ModelProto) -> dict[str, float]:
    """What each block costs: its share of multiply-adds plus its share of weights."""
    found = work(proto)
    products, weights = (max(sum(each), 1) for each in zip(*found.values(), strict=True))
    return {name: each[0] / products + each[1] / weights for name, each in found.items()}


def given_back(judge: Judge, plan: ExportPlan, frontier: Sequence[Candidate]) -> list[GivenBack]:
    """What each block costs that a search left in floating point, in processor time, in turns with the graph without it.

    Args:
        judge: of the search.
        plan: that it found.
        frontier: what it tried; empty when there was no search.
    """
    found = []
    for name, _, block in (each.partition(".") for each in (frontier[-1].blocks if frontier else ())):
        graph = plan.graphs[name]
        fewer = graph.model_copy(update={"keep": tuple(each for each in graph.keep if each != block)})
        protos = {"kept": judge.build(name, graph), "int8": judge.build(name, fewer)}
        feed = dict(judge.calibration[name][0])
        runs = {kind: partial(observers.session(each, threads=1).run, None, feed) for kind, each in protos.items()}
        ms = in_turns(runs, _ROUNDS, time.process_time)
        more = protos["kept"].ByteSize() - protos["int8"].ByteSize()
        found.append(GivenBack(block=f"{name}.{block}", ms=ms["kept"] - ms["int8"], bytes=more))
    return found


class _Attempts:
    """What was measured, each set of blocks once."""

    def __init__(self, judge: Judge, folder: Path, plan: ExportPlan, outcome: Outcome) -> None:
        self._judge, self._folder, self._plan = judge, folder, plan
        self._missed: dict[frozenset[tuple[str, str]], Missed] = {frozenset(): _missed(outcome)}
        self._last: tuple[Blocks, Outcome] = ((), outcome)
        self.tried: tuple[Candidate, ...] = (_candidate(judge, folder, outcome, ()),)

    def missed(self, chosen: Blocks) -> Missed:
        """What the plan with `chosen` in floating point misses."""
        key = frozenset(chosen)
        if key not in self._missed:
            outcome = self._judge.measure(self._folder, keep(self._plan, chosen))
            self._missed[key], self._last = _missed(outcome), (chosen, outcome)
            self.tried += (_candidate(self._judge, self._folder, outcome, tuple(f"{g}.{b}" for g, b in chosen)),)
        return self._missed[key]

    def within(self, chosen: Blocks) -> bool:
        """Whether the plan with `chosen` in floating point is within the budget."""
        return not self.missed(chosen)[0]

    def by_blame(self, ranked: Sequence[tuple[str, str]]) -> Blocks:
        """`ranked`, first the blocks of the graph that would bring the plan within the budget by itself, if one does."""
        whole: dict[str, Blocks] = {}
        for pair in ranked:
            whole[pair[0]] = (*whole.get(pair[0], ()), pair)
        if len(whole) < 2:
            return tuple(ranked)
        graph = min(whole, key=lambda name: (self.missed(whole[name]), len(whole[name])))
        if not self.within(whole[graph]):
            return tuple(ranked)  # no graph alone is to blame
        return (*whole[graph], *(pair for pair in ranked if pair[0] != graph))

    def settle(self, chosen: Blocks) -> tuple[ExportPlan, Outcome, tuple[Candidate, ...]]:
        """The plan with `chosen`, written to the folder."""
        if set(self._last[0]) != set(chosen):
            del self._missed[frozenset(chosen)]
            self.missed(chosen)
        return keep(self._plan, chosen), self._last[1], self.tried


def _least(attempts: _Attempts, ranked: Blocks) -> Blocks | None:
    """The shortest beginning of `ranked` within the budget that doubling and bisection find; None when all are not enough."""
    low, high = 0, 1
    while not attempts.within(ranked[:high]):
        if high == len(ranked):
            return None
        low, high = high, min(2 * high, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        if attempts.within(ranked[:middle]):
            high = middle
        else:
            low = middle
    return ranked[:high]


def _pruned(attempts: _Attempts, chosen: Blocks) -> Blocks:
    """`chosen` without the blocks that are not needed, tried from the least useful on."""
    for pair in list(reversed(chosen))[:_PRUNED]:
        fewer = tuple(each for each in chosen if each != pair)
        if attempts.within(fewer):
            chosen = fewer
    return chosen


def _missed(outcome: Outcome) -> Missed:
    far = [abs(each.got - each.limit) / max(abs(each.limit), 1e-9) for each in outcome.failures]
    return len(far), sum(value if math.isfinite(value) else math.inf for value in far)


def _candidate(judge: Judge, folder: Path, outcome: Outcome, chosen: tuple[str, ...]) -> Candidate:
    vectors = [vector for part in outcome.parts.values() for vector in part.vectors.values()]
    overlaps = [vector.cross_overlap for vector in vectors if vector.cross_overlap is not None]
    timed = judge.timed(judge.engine(folder, outcome))
    return Candidate(
        kept=len(chosen),
        blocks=chosen,
        min_cosine=min(vector.min_cosine for vector in vectors),
        mean_cosine=min(vector.mean_cosine for vector in vectors),
        icdr_flips=sum(part.heads["icdr"].flips for part in outcome.parts.values() if "icdr" in part.heads),
        neighbour_overlap=min(overlaps) if overlaps else None,
        failures=len(outcome.failures),
        ms=sum(timed.values()) / len(timed),
        bytes=sum(graph.bytes for graph in outcome.manifest.graphs.values()),
    )
