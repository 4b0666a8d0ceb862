"""One graph at one precision for one target. Chooses nothing: the plan has chosen."""

from __future__ import annotations

import onnx

from foveal_export.quantise.fp16 import store_half
from foveal_export.quantise.int8 import to_int8
from foveal_export.quantise.plan import GraphPlan
from foveal_export.tensorrt.typed import to_tensorrt
from foveal_runtime.bundle.manifest import Precision, Target


def apply(proto: onnx.ModelProto, plan: GraphPlan, precision: Precision, target: Target) -> onnx.ModelProto:
    """The graph as it goes into a bundle.

    Args:
        proto: FP32, from `graphs`; not changed.
        plan: of this graph.
        precision: of the bundle.
        target: decides how FP16 is spelt, and how INT8 quantises activations.
    """
    if target is Target.TENSORRT:
        return to_tensorrt(proto, plan, precision)
    if precision is Precision.FP32:
        return proto
    if precision is Precision.FP16:
        return store_half(proto)
    return to_int8(proto, plan)
