"""From FP32 graphs and calibration studies to an INT8 plan: ranges, and the scheme of each graph chosen by measuring.

Applies nothing for good: candidates are built to be measured, and the plan is what comes out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from foveal_export.graphs import observers
from foveal_export.graphs.blocks import blocks
from foveal_export.graphs.edit import Editor
from foveal_export.quantise import int8
from foveal_export.quantise.gptq import plan_rounding
from foveal_export.quantise.plan import GraphPlan, Mode, RangeRule
from foveal_export.quantise.smoothquant import candidates
from foveal_runtime.bundle.manifest import FUSION
from foveal_runtime.study.study import Modality
from foveal_train.model.blocks import FLOAT_BLOCKS

ENOUGH = 0.02
"""Relative error below which a static graph is as good as any: it runs in batches and on every target."""
MARGIN = 1.25
"""How many times less error a dynamic graph must have: it runs one study at a time and on CPU alone."""
_TRIALS = 32
"""Calibration inputs on which schemes are compared: with 8 the range rules' order was chance (docs/decisions.md)."""
_SMOOTH = (0.35, 0.5, 0.65, 0.8)
"""SmoothQuant's migration strengths that are tried; its authors take 0.5, and more where activations have larger outliers."""
_PERCENTILE = 0.9999


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """One way to quantise a graph, measured."""

    graph: str
    mode: str
    rule: str
    smooth: float | None
    relative_error: float
    """Of the graph's tokens or joint vector, over the spread of FP32's."""
    ms: float
    """Per study, batch 1."""
    chosen: bool = False


def ranges(seen: Mapping[str, observers.Seen], rule: RangeRule, *, symmetric: bool = False) -> dict[str, tuple[float, float]]:
    """The range of every observed tensor."""
    rules: dict[RangeRule, Callable[[observers.Seen], tuple[float, float]]] = {
        RangeRule.MINMAX: lambda s: s.minmax(),
        RangeRule.PERCENTILE: lambda s: s.percentile(_PERCENTILE),
        RangeRule.LEAST_ERROR: lambda s: s.least_error(symmetric=symmetric),
    }
    # Six digits: enough for 255 steps, and the plan's file gives the very same scales back.
    return {
        name: (float(f"{low:.6g}"), float(f"{high:.6g}"))
        for name, (low, high) in ((n, rules[rule](s)) for n, s in seen.items())
    }


def plan_graph(
    name: str,
    proto: onnx.ModelProto,
    feeds: Sequence[observers.Feeds],
    *,
    reduce_range: bool,
    static_only: bool,
) -> tuple[GraphPlan, list[Scheme]]:
    """Choose the scheme of one graph.

    Args:
        name: a modality or `fusion`.
        proto: FP32.
        feeds: calibration inputs, batch 1.
        reduce_range: seven-bit weights, which no processor saturates.
        static_only: no dynamic graphs, and activations around zero, as for TensorRT.

    Returns:
        The plan and every scheme that was measured.
    """
    if name == Modality.STRUCTURED or not int8.sites(proto):
        # 50 thousand multiply-adds, or none: nothing to gain.
        return GraphPlan(mode=Mode.FLOAT, symmetric=static_only), []
    is_cnn = sum(node.op_type == "Conv" for node in proto.graph.node) > 1
    observed, scales = _observe(proto, feeds)
    options = [
        GraphPlan(mode=Mode.STATIC, rule=rule, ranges=ranges(observed, rule, symmetric=static_only)) for rule in RangeRule
    ]
    if not is_cnn:
        options += [_smoothed_plan(proto, feeds, scales, strength, symmetric=static_only) for strength in _SMOOTH if scales]
        if not static_only:
            options.append(GraphPlan(mode=Mode.DYNAMIC))
    common: dict[str, Any] = {"reduce_range": reduce_range, "symmetric": static_only}
    if is_cnn:
        common["keep"] = tuple(block.name for block in blocks(proto)[:FLOAT_BLOCKS])
        common["rounding"], common["bias"] = plan_rounding(
            proto, feeds, weight_scales(proto, reduce_range=reduce_range, half=static_only), 63 if reduce_range else 127
        )
    options = [option.model_copy(update=common) for option in options]
    trials = feeds[:: max(1, len(feeds) // _TRIALS)][:_TRIALS]
    expected = _answers(name, proto, trials)
    measured = [_measure(name, proto, option, trials, expected) for option in options]
    best = _best(measured)
    schemes = [dataclasses.replace(scheme, chosen=place == best) for place, scheme in enumerate(measured)]
    return options[best], schemes


def weight_scales(proto: onnx.ModelProto, *, reduce_range: bool, half: bool = False) -> dict[str, npt.NDArray[np.float32]]:
    """Scale of every output channel of the convolutions, by node name; `half` as in `int8.quantise_weight`."""
    editor = Editor(proto)
    ops = {node.name: node.op_type for node in editor.nodes}
    return {
        site.node: int8.quantise_weight(editor.weight(site.weight), site.axis, reduce_range=reduce_range, half=half)[1]
        for site in int8.sites(proto)
        if ops[site.node] == "Conv"
    }


def _observe(
    proto: onnx.ModelProto, feeds: Sequence[observers.Feeds]
) -> tuple[dict[str, observers.Seen], dict[str, tuple[float, ...]]]:
    wanted = int8.activations(proto)
    channels = frozenset(candidates(proto))
    seen = observers.observe(proto, wanted, feeds, channels=channels & frozenset(wanted))
    scales = {
        name: tuple(float(f"{value:.5g}") for value in seen[name].channel_max)  # type: ignore[union-attr]
        for name in wanted
        if name in channels and seen[name].channel_max is not None
    }
    return seen, scales


def _smoothed_plan(
    proto: onnx.ModelProto,
    feeds: Sequence[observers.Feeds],
    scales: dict[str, tuple[float, ...]],
    strength: float,
    *,
    symmetric: bool,
) -> GraphPlan:
    from foveal_export.quantise.smoothquant import smooth

    observed, _ = _observe(smooth(proto, scales, strength), feeds)
    return GraphPlan(
        mode=Mode.STATIC,
        rule=RangeRule.LEAST_ERROR,
        smooth=strength,
        channel_max=scales,
        ranges=ranges(observed, RangeRule.LEAST_ERROR, symmetric=symmetric),
    )


def _answers(name: str, proto: onnx.ModelProto, feeds: Sequence[observers.Feeds]) -> list[observers.Array]:
    """What FP32 says: tokens of an encoder, joint vectors of the fusion graph."""
    session = observers.session(proto)
    return [session.run([_judged(name, proto)], dict(feed))[0] for feed in feeds]


def _judged(name: str, proto: onnx.ModelProto) -> str:
    return "joint_BD" if name == FUSION else str(proto.graph.output[0].name)


def _measure(
    name: str, proto: onnx.ModelProto, plan: GraphPlan, feeds: Sequence[observers.Feeds], expected: Sequence[observers.Array]
) -> Scheme:
    """Error and speed of one graph under a plan, against FP32 on the same inputs."""
    # 8-bit weights are for processors that add in 32 bits: what is compared is what they will compute.
    candidate = observers.session(int8.to_int8(proto, plan), exact=not plan.reduce_range)
    times, got = [], []
    for feed in feeds:
        started = time.perf_counter()
        got.append(candidate.run([_judged(name, proto)], dict(feed))[0])
        times.append(time.perf_counter() - started)
    rows, found = (np.concatenate([a.reshape(-1, a.shape[-1]) for a in side]) for side in (expected, got))
    spread = max(float(np.linalg.norm(rows - rows.mean(axis=0))), 1e-12)
    return Scheme(
        graph=name,
        mode=plan.mode.value,
        rule=plan.rule.value,
        smooth=plan.smooth,
        relative_error=float(np.linalg.norm(rows - found)) / spread,
        ms=float(np.median(times)) * 1e3,
    )


def _best(schemes: Sequence[Scheme]) -> int:
    """The most accurate static scheme, unless it is not accurate `ENOUGH` and a dynamic one is better by `MARGIN`."""
    static = [i for i, scheme in enumerate(schemes) if scheme.mode == Mode.STATIC]
    best = min(static, key=lambda i: schemes[i].relative_error)
    if schemes[best].relative_error <= ENOUGH:
        return best
    other = min(range(len(schemes)), key=lambda i: schemes[i].relative_error)
    return other if schemes[other].relative_error * MARGIN < schemes[best].relative_error else best
