"""Size and speed of a study in every precision and in PyTorch. Judges nothing.

Times are the processor's, with one thread, and the artefact takes turns with FP32: what else the machine does hardly moves
them, and moves both alike.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch

from foveal_export.graphs import observers
from foveal_export.quantise.fp16 import store_half
from foveal_export.studies.cases import Case
from foveal_export.studies.feeds import Float, encoder_feed, fusion_feed
from foveal_runtime.bundle.manifest import FUSION, Precision
from foveal_runtime.engine.race import in_turns
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
    """Processor time of a study with every modality it has, batch 1: the sum over its graphs, the median of seven runs each."""
    graphs_ms: dict[str, float] = field(default_factory=dict)
    """By graph; empty for PyTorch."""


def pytorch_cost(reference: Reference, checks: Mapping[str, Sequence[Case]]) -> Cost:
    """Measure the reference, on the study that `costs` uses."""
    case = _typical(checks)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        works = {"pytorch": lambda: reference.run_prepared([case.prepared], frozenset())}
        return Cost(name="pytorch", bytes=None, ms=in_turns(works, _RUNS, time.process_time)["pytorch"])
    finally:
        torch.set_num_threads(threads)


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
    # Sessions of one graph, from files, and FP16's not beside INT8's: all of `base` would not fit into the memory allowed, nor
    # would sessions that keep the bytes they were made from.
    beside: tuple[tuple[str, ...], ...] = {
        Precision.FP32: (("fp32",),),
        Precision.FP16: (("fp32", "fp16"),),
        Precision.INT8: (("fp32", "int8"), ("fp16",)),
    }[precision]
    kinds = [kind for kind in ("fp32", "fp16", "int8") if any(kind in turn for turn in beside)]
    size = dict.fromkeys(kinds, 0)
    ms: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    tokens: dict[Modality, Float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in [m.value for m in Modality if m in case.prepared.subset] + [FUSION]:
            feed = fusion_feed(tokens) if name == FUSION else encoder_feed(case.prepared, Modality(name))
            for turn in beside:
                works: dict[str, Callable[[], Any]] = {}
                for kind in turn:
                    path = written[name] if kind == precision.value else _stored(exact[name], kind, Path(scratch))
                    _give_back()
                    works[kind] = partial(observers.session(path, threads=1).run, None, feed)
                    size[kind] += path.stat().st_size
                if name != FUSION and "fp32" in works:
                    tokens[Modality(name)] = works["fp32"]()[0][0]
                for kind, taken in in_turns(works, _RUNS, time.process_time).items():
                    ms[kind][name] = taken
                del works
                _give_back()
    return [Cost(name=kind, bytes=size[kind], ms=sum(each.values()), graphs_ms=each) for kind, each in ms.items()]


def _typical(checks: Mapping[str, Sequence[Case]]) -> Case:
    return checks[max(checks, key=lambda name: name.count("+"))][0]


def _stored(proto: onnx.ModelProto, kind: str, folder: Path) -> Path:
    """A graph as FP32 or FP16 in a file."""
    path = folder / f"{kind}.onnx"
    path.write_bytes((store_half(proto) if kind == "fp16" else proto).SerializeToString())
    return path


def _give_back() -> None:
    """Return freed memory to the system: it stays with the process otherwise, and the next session comes on top of it."""
    gc.collect()
    trim()
