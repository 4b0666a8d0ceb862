"""FP16: graphs at half the size. Quantises nothing to integers; see `int8`."""

from __future__ import annotations

import math

import numpy as np
import onnx

from foveal_export.graphs.edit import Editor

MIN_VALUES = 256
"""Initialisers of fewer values stay FP32: scales and constants are worth more than their bytes."""
HALF_MAX = 65504.0
NARROW = 32
"""Convolutions whose outputs read at most this many weights stay FP32: rounding nine weights of a depthwise filter shifts a
whole channel (min cosine 0.998 on trained Lite0), and all of them together are 3 % of the bytes."""


def store_half(proto: onnx.ModelProto, *, copy: bool = True) -> onnx.ModelProto:
    """Weights stored in FP16 and widened by a Cast that ONNX Runtime folds once, at load; arithmetic stays FP32.

    Args:
        proto: not changed, unless `copy` is False. Weights beyond FP16's range stay FP32.
        copy: False takes `proto` over.
    """
    editor = Editor(proto, copy=copy)
    scales = {
        value
        for node in editor.nodes
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.name.endswith("/Scales")
        for value in node.input[1:] or node.input
    }
    consumers = editor.consumers()
    narrow_nodes = narrow_convolutions(proto)
    narrow = {node.input[1] for node in editor.nodes if node.name in narrow_nodes}
    for name in list(editor.weights):
        if not editor.is_float_weight(name) or name in scales or name in narrow:
            continue
        values = editor.weight(name)
        if values.size < MIN_VALUES or float(np.abs(values).max()) > HALF_MAX:
            continue
        half = editor.add_weight(f"{name}.f16", values.astype(np.float16))
        editor.add_node("Cast", [half], [f"{name}.f32"], f"{name}/Cast", to=onnx.TensorProto.FLOAT)
        editor.redirect(name, f"{name}.f32", consumers[name])
    return editor.finish()


def narrow_convolutions(proto: onnx.ModelProto) -> set[str]:
    """Names of the convolutions whose outputs read at most `NARROW` weights."""
    dims = {tensor.name: tensor.dims for tensor in proto.graph.initializer}
    return {
        node.name
        for node in proto.graph.node
        if node.op_type == "Conv" and node.input[1] in dims and math.prod(dims[node.input[1]][1:]) <= NARROW
    }
