"""Give precision back, block by block, until an INT8 artefact is within its budget. Knows no model.

Blocks are ranked by the damage each does, from one tapped pass of both graphs over a few calibration studies. Then the
worst return to floating point, twice as many each time, and every step is measured as the artefact it would be, on validation
studies: the verdict on others is not the search's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from foveal_export.parity.drift import drift
from foveal_export.parity.outcome import Candidate, Outcome
from foveal_export.quantise.plan import ExportPlan, Mode

if TYPE_CHECKING:
    from foveal_export.judge import Judge


def search(judge: Judge, folder: Path, plan: ExportPlan, outcome: Outcome) -> tuple[ExportPlan, Outcome, tuple[Candidate, ...]]:
    """The cheapest plan within the budget, or the last one when none is.

    Args:
        judge: measures plans.
        folder: graphs are written there; it holds the returned plan's in the end.
        plan: the one that missed.
        outcome: its measurement.

    Returns:
        Plan, its measurement, and every point that was tried.
    """
    ranked = rank(judge, plan, outcome.graphs)
    frontier = [_candidate(judge, folder, outcome, ())]
    first, kept = plan, 1
    while outcome.failures and kept <= 2 * len(ranked):
        chosen = ranked[: min(kept, len(ranked))]
        plan = keep(first, chosen)
        outcome = judge.measure(folder, plan)
        frontier.append(_candidate(judge, folder, outcome, tuple(f"{name}.{block}" for name, block in chosen)))
        kept *= 2
    return plan, outcome, tuple(frontier)


def keep(plan: ExportPlan, chosen: list[tuple[str, str]]) -> ExportPlan:
    """`plan` with `chosen` (graph, block) in floating point as well."""
    changed = {
        name: graph.model_copy(update={"keep": (*graph.keep, *(block for owner, block in chosen if owner == name))})
        for name, graph in plan.graphs.items()
    }
    return plan.model_copy(update={"graphs": changed})


def rank(judge: Judge, plan: ExportPlan, built: Mapping[str, onnx.ModelProto]) -> list[tuple[str, str]]:
    """(graph, block) from most to least harmful; blocks that are in floating point already are left out.

    The damage of a block is what it adds to the squared relative error behind it, as errors of independent roundings
    add up; the mean over the studies.

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
        before = np.zeros(len(rows))
        for block in rows[0]:
            error = np.asarray([row[block] for row in rows]) ** 2
            if block not in graph.keep:
                found.append((float((error - before).mean()), name, block))
            before = error
    return [(name, block) for _, name, block in sorted(found, key=lambda row: -row[0])]


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
