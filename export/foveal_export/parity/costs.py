"""Size and speed of a study in every precision and in PyTorch. Judges nothing."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import onnx

from foveal_export.graphs import observers
from foveal_export.quantise.fp16 import store_half
from foveal_export.studies.cases import Case
from foveal_export.studies.feeds import Float, encoder_feed, fusion_feed
from foveal_runtime.bundle.manifest import FUSION, Precision
from foveal_runtime.serving.memory import trim
from foveal_runtime.study.study import Modality
from foveal_train.runs.reference import Reference

_RUNS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """One precision."""

    name: str
    """`pytorch`, or a precision."""
    bytes: int | None
    """Of all graphs; None for PyTorch."""
    ms: float
    """One study with every modality it has, batch 1: the sum over its graphs, the least of seven runs each."""
    graphs_ms: dict[str, float] = field(default_factory=dict)
    """By graph; empty for PyTorch."""


def pytorch_cost(reference: Reference, checks: Mapping[str, Sequence[Case]]) -> Cost:
    """Measure the reference, on the study that `costs` uses."""
    case = _typical(checks)
    return Cost(name="pytorch", bytes=None, ms=_least(lambda: reference.run_prepared([case.prepared], frozenset())))


def costs(
    exact: Mapping[str, onnx.ModelProto],
    written: Mapping[str, Path],
    precision: Precision,
    checks: Mapping[str, Sequence[Case]],
    folder: Path,
) -> list[Cost]:
    """Measure FP32, FP16 and the artefact, as far as the artefact's precision goes.

    Args:
        exact: FP32 graphs.
        written: the artefact's, as they lie in the bundle.
        precision: the artefact's.
        checks: studies by subset name; the first of the largest subset is used.
        folder: where there is room for another graph; nothing stays there.
    """
    case = _typical(checks)
    wanted = {Precision.FP32: (), Precision.FP16: ("fp16",), Precision.INT8: ("fp16", "int8")}[precision]
    size = dict.fromkeys(("fp32", *wanted), 0)
    ms: dict[str, dict[str, float]] = {kind: {} for kind in size}
    tokens: dict[Modality, Float] = {}
    # One session at a time, from a file: the graphs of `base` in every precision at once would not fit into the memory allowed,
    # nor would a session that keeps the bytes it was made from.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in [m.value for m in Modality if m in case.prepared.subset] + [FUSION]:
            feed = fusion_feed(tokens) if name == FUSION else encoder_feed(case.prepared, Modality(name))
            for kind in size:
                _give_back()
                if kind == precision.value:
                    path = written[name]
                else:
                    path = Path(scratch) / "graph.onnx"
                    path.write_bytes((store_half(exact[name]) if kind == "fp16" else exact[name]).SerializeToString())
                    _give_back()
                session = observers.session(path)
                if name != FUSION and kind == "fp32":
                    tokens[Modality(name)] = session.run(None, feed)[0][0]
                ms[kind][name] = _least(partial(session.run, None, feed))
                size[kind] += path.stat().st_size
                del session
    return [Cost(name=kind, bytes=size[kind], ms=sum(each.values()), graphs_ms=each) for kind, each in ms.items()]


def _typical(checks: Mapping[str, Sequence[Case]]) -> Case:
    return checks[max(checks, key=lambda name: name.count("+"))][0]


def _give_back() -> None:
    """Return freed memory to the system: it stays with the process otherwise, and the next session comes on top of it."""
    gc.collect()
    trim()


def _least(task: Callable[[], object]) -> float:
    """Least time of a task in milliseconds, the first run left out."""
    times = []
    for _ in range(_RUNS + 1):
        begun = time.perf_counter()
        task()
        times.append(time.perf_counter() - begun)
    return min(times[1:]) * 1e3
