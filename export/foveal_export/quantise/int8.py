"""INT8: from an FP32 graph and a plan to a quantised graph. Calibrates nothing (see `calibrate`), judges nothing.

Weights are symmetric S8 with a scale per output channel. Static activations are U8 Q/DQ pairs with calibrated scales, or S8
around zero where the plan says so (TensorRT: there, biases, tables and what is kept stay in floating point, which `tensorrt`
makes FP16); ONNX Runtime fuses them into QLinearConv and MatMulIntegerToFloat. Dynamic ones are `DynamicQuantizeLinear` over
one study. Embedding tables are S8 with a scale per row. What a plan keeps in floating point is stored in FP16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from foveal_export.graphs.edit import Array, Editor, in_modules
from foveal_export.quantise.fp16 import store_half
from foveal_export.quantise.gptq import unpack
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_export.quantise.smoothquant import smooth

MIN_TABLE = 4096
"""A Gather table of fewer values is not worth a scale per row."""
_PASSIVE = ("Clip", "Relu")
"""Activations that a quantised convolution absorbs: the range behind them is the one that counts."""


@dataclass(frozen=True, slots=True)
class Site:
    """A node whose weights are quantised."""

    node: str
    activation: str
    """Name of the tensor it reads."""
    weight: str
    axis: int
    """Axis of the output channels in the weight."""


def sites(proto: onnx.ModelProto) -> list[Site]:
    """Every node that INT8 could take: convolutions and matrix products with constant weights, in graph order."""
    editor = Editor(proto)
    found = []
    for node in editor.nodes:
        if node.op_type in ("Conv", "MatMul", "Gemm") and editor.is_float_weight(node.input[1]):
            rank = len(editor.weights[node.input[1]].dims)
            if node.op_type == "MatMul" and rank != 2:
                continue
            found.append(Site(node.name, node.input[0], node.input[1], _output_axis(node)))
    return found


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 1


def activations(proto: onnx.ModelProto) -> list[str]:
    """Tensors that a static graph may quantise, in graph order: what calibration has to look at."""
    editor = Editor(proto)
    wanted: dict[str, None] = {}
    consumers, producers = editor.consumers(), editor.producers()
    for site in sites(proto):
        wanted[site.activation] = None
    for node in editor.nodes:
        if node.op_type == "Conv" and editor.is_float_weight(node.input[1]):
            wanted[_behind(node, consumers).output[0]] = None
        elif _is_residual(node, producers, editor):
            wanted[node.output[0]] = None
    return list(wanted)


def _behind(node: onnx.NodeProto, consumers: dict[str, list[onnx.NodeProto]]) -> onnx.NodeProto:
    """The activation behind a convolution when it is its only reader, else the convolution itself."""
    readers = consumers.get(node.output[0], [])
    return readers[0] if len(readers) == 1 and readers[0].op_type in _PASSIVE else node


def _is_residual(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto], editor: Editor) -> bool:
    """An Add of two feature maps of a CNN."""
    if node.op_type != "Add" or any(value in editor.weights for value in node.input):
        return False
    return all(
        value in producers and producers[value].op_type in ("Conv", "Add", *_PASSIVE) and _is_map(producers[value], producers)
        for value in node.input
    )


def _is_map(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    """True when the chain of Add and activation leads back to a convolution."""
    while node.op_type != "Conv":
        value = node.input[0]
        if node.op_type not in ("Add", *_PASSIVE) or value not in producers:
            return False
        node = producers[value]
    return True


def to_int8(proto: onnx.ModelProto, plan: GraphPlan) -> onnx.ModelProto:
    """The quantised graph.

    Args:
        proto: FP32, from `graphs`; not changed.
        plan: of this graph. A static plan needs a range for every activation it quantises.
    """
    if plan.mode is Mode.FLOAT:
        return store_half(quantise_tables(proto), copy=False)
    if plan.smooth is not None:
        proto = smooth(proto, plan.channel_max, plan.smooth)
    editor = Editor(proto) if plan.symmetric else Editor(quantise_tables(proto), copy=False)
    chosen = [site for site in sites(proto) if not in_modules(site.node, plan.keep)]
    if plan.mode is Mode.STATIC:
        _static(editor, chosen, plan)
    else:
        _dynamic(editor, chosen, plan)
    made = editor.finish()
    return made if plan.symmetric else store_half(made, copy=False)


def quantise_weight(
    weight: Array, axis: int, *, reduce_range: bool, half: bool = False
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric S8 values and the scale of every slice along `axis`; `half` gives scales that FP16 holds exactly."""
    limit = 63 if reduce_range else 127
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight.astype(np.float64)).max(axis=others)
    scale = np.maximum(largest, 1e-8) / limit
    if half:
        scale = _half_above(scale)
    shape = [1] * weight.ndim
    shape[axis] = -1
    values = np.clip(np.round(weight / scale.reshape(shape)), -limit, limit).astype(np.int8)
    return values, scale.astype(np.float32)


def _half_above(scale: Array) -> Array:
    """The least FP16 number that is not below: rounded down, a scale near FP16's smallest would clip its slice."""
    near = scale.astype(np.float16)
    return np.where(near < scale, np.nextafter(near, np.float16(np.inf)), near).astype(np.float64)


def activation_scale(low: float, high: float, *, symmetric: bool = False) -> tuple[np.float32, np.uint8 | np.int8]:
    """Scale and zero point of a range that holds 0: U8, or S8 around zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return np.float32(max(-low, high, 1e-6) / 127), np.int8(0)
    scale = max((high - low) / 255, 1e-8)
    return np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, 255))


def _static(editor: Editor, chosen: list[Site], plan: GraphPlan) -> None:
    names = {site.node for site in chosen}
    by_name = {node.name: node for node in editor.nodes}
    consumers, producers = editor.consumers(), editor.producers()
    quantised = _quantised(editor, chosen, plan)
    for site in chosen:
        _weight_qdq(editor, by_name[site.node], site, plan)
    for node in list(editor.nodes):
        if node.op_type == "Conv" and node.name in names:
            behind = _behind(node, consumers)
            # Around zero there is no clipping at zero: the activation stays.
            inside = behind is not node and behind.output[0] not in editor.outputs and not plan.symmetric
            if inside and _saturates(behind, plan.ranges[behind.output[0]], editor):
                # Quantisation to [0, high] is the clipping: ONNX Runtime fuses a convolution only without it.
                editor.nodes.remove(behind)
                node.output[0] = behind.output[0]
    for tensor, readers in quantised.items():
        scale, zero = activation_scale(*plan.ranges[tensor], symmetric=plan.symmetric)
        scale_name = editor.add_weight(f"{tensor}.scale", np.asarray(scale))
        zero_name = editor.add_weight(f"{tensor}.zero", np.asarray(zero))
        editor.add_node("QuantizeLinear", [tensor, scale_name, zero_name], [f"{tensor}.q8"], f"{tensor}/QuantizeLinear")
        back = f"{tensor}.dq"
        editor.add_node("DequantizeLinear", [f"{tensor}.q8", scale_name, zero_name], [back], f"{tensor}/DequantizeLinear")
        # A convolution's output is read quantised by everyone; elsewhere floating-point readers keep the exact value.
        everyone = not plan.symmetric and tensor in producers and producers[tensor].op_type in ("Conv", "Add", *_PASSIVE)
        editor.redirect(tensor, back, consumers[tensor] if everyone and _is_map(producers[tensor], producers) else readers)


def _quantised(editor: Editor, chosen: list[Site], plan: GraphPlan) -> dict[str, list[onnx.NodeProto]]:
    """Tensors that get a Q/DQ pair, and the nodes that read them through it.

    ONNX Runtime wants the output of a convolution quantised as well; TensorRT adds a residual inside of the convolution's
    kernel as long as nothing stands between the two, so there the other input of the Add alone is quantised.
    """
    names = {site.node for site in chosen}
    by_name = {node.name: node for node in editor.nodes}
    consumers, producers = editor.consumers(), editor.producers()
    found: dict[str, list[onnx.NodeProto]] = {}
    for site in chosen:
        found.setdefault(site.activation, []).append(by_name[site.node])
    for node in editor.nodes:
        if node.op_type == "Conv" and node.name in names and not plan.symmetric:
            found.setdefault(_behind(node, consumers).output[0], [])
        elif _is_residual(node, producers, editor) and _residual_is_int8(node, producers, consumers, names):
            for value in node.input:
                fused = producers[value].op_type == "Conv" and len(consumers[value]) == 1
                if not (plan.symmetric and fused):
                    found.setdefault(value, []).append(node)
            if not plan.symmetric:
                found.setdefault(node.output[0], [])
    return found


def _saturates(activation: onnx.NodeProto, range_: tuple[float, float], editor: Editor) -> bool:
    """True when rounding to `range_` does all that a ReLU or Clip at 0 does."""
    if range_[0] < 0:
        return False
    if activation.op_type == "Relu":
        return True
    low, high = (float(editor.weight(value)) for value in activation.input[1:3])
    return low == 0 and range_[1] <= high * (1 + 1e-6)


def _residual_is_int8(
    node: onnx.NodeProto, producers: dict[str, onnx.NodeProto], consumers: dict[str, list[onnx.NodeProto]], names: set[str]
) -> bool:
    """A residual stays in INT8 when the convolutions around it do."""
    makers = [_conv_before(producers[value], producers) for value in node.input if producers[value].op_type != "Add"]
    return all(maker in names for maker in makers)


def _conv_before(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> str:
    while node.op_type != "Conv":
        node = producers[node.input[0]]
    return node.name


def _weight_qdq(editor: Editor, node: onnx.NodeProto, site: Site, plan: GraphPlan) -> None:
    values, scale = quantise_weight(editor.weight(site.weight), site.axis, reduce_range=plan.reduce_range, half=plan.symmetric)
    if node.name in plan.rounding:
        values = unpack(plan.rounding[node.name], values)
    base = f"{node.name}.weight"
    names = [
        editor.add_weight(f"{base}.s8", values),
        editor.add_weight(f"{base}.scale", scale),
        editor.add_weight(f"{base}.zero", np.zeros(scale.shape, np.int8)),
    ]
    editor.add_node("DequantizeLinear", names, [f"{base}.dq"], f"{node.name}/DequantizeLinear", axis=site.axis)
    node.input[1] = f"{base}.dq"
    if node.name in plan.bias and node.op_type == "Conv":
        _shift_bias(editor, node, np.asarray(plan.bias[node.name], np.float32))
    if len(node.input) > 2 and node.input[2] and not plan.symmetric:
        # ONNX Runtime takes a convolution for INT8 only when its bias is S32 at the product of both scales.
        activation, _ = activation_scale(*plan.ranges[site.activation])
        bias_scale = (activation * scale).astype(np.float32)
        bias = np.round(editor.weight(node.input[2]).astype(np.float64) / bias_scale)
        bias = np.clip(bias, -(2**31), 2**31 - 1).astype(np.int32)
        base = f"{node.name}.bias"
        names = [
            editor.add_weight(f"{base}.s32", bias),
            editor.add_weight(f"{base}.scale", bias_scale),
            editor.add_weight(f"{base}.zero", np.zeros(scale.shape, np.int32)),
        ]
        editor.add_node("DequantizeLinear", names, [f"{base}.dq"], f"{node.name}/DequantizeLinear.bias", axis=0)
        node.input[2] = f"{base}.dq"


def _shift_bias(editor: Editor, node: onnx.NodeProto, shift_O: npt.NDArray[np.float32]) -> None:
    """Give a convolution its own bias with `shift_O` added; an equal bias may be shared with other nodes."""
    given = len(node.input) > 2 and bool(node.input[2])
    name = editor.add_weight(f"{node.name}.shifted", (editor.weight(node.input[2]) if given else 0) + shift_O)
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)


def _dynamic(editor: Editor, chosen: list[Site], plan: GraphPlan) -> None:
    by_name = {node.name: node for node in editor.nodes}
    done: dict[str, tuple[str, str, str]] = {}
    for site in chosen:
        node = by_name[site.node]
        if node.op_type != "MatMul":
            continue
        if site.activation not in done:
            triple = tuple(f"{site.activation}.{part}" for part in ("u8", "scale", "zero"))
            editor.add_node("DynamicQuantizeLinear", [site.activation], triple, f"{site.activation}/DynamicQuantizeLinear")
            done[site.activation] = (triple[0], triple[1], triple[2])
        u8, scale_name, zero_name = done[site.activation]
        values, scale = quantise_weight(editor.weight(site.weight), site.axis, reduce_range=plan.reduce_range)
        base = f"{node.name}.weight"
        weight = editor.add_weight(f"{base}.s8", values)
        weight_zero = editor.add_weight(f"{base}.zero", np.zeros(scale.shape, np.int8))
        weight_scale = editor.add_weight(f"{base}.scale", scale)
        output = node.output[0]
        editor.nodes.remove(node)
        # The spelling that ONNX Runtime fuses into one DynamicQuantizeMatMul or MatMulIntegerToFloat.
        editor.add_node("MatMulInteger", [u8, weight, zero_name, weight_zero], [f"{output}.s32"], f"{node.name}Integer")
        editor.add_node("Cast", [f"{output}.s32"], [f"{output}.f32"], f"{node.name}/Cast", to=onnx.TensorProto.FLOAT)
        editor.add_node("Mul", [scale_name, weight_scale], [f"{output}.scales"], f"{node.name}/Scales")
        editor.add_node("Mul", [f"{output}.f32", f"{output}.scales"], [output], f"{node.name}/Scale")


def embedding_tables(editor: Editor) -> Iterator[tuple[onnx.NodeProto, Array]]:
    """Every Gather of a graph that looks rows up in a matrix worth storing smaller, and the matrix, [rows, width]."""
    for node in list(editor.nodes):
        if node.op_type == "Gather" and editor.is_float_weight(node.input[0]):
            table = editor.weight(node.input[0])
            if table.ndim == 2 and table.size >= MIN_TABLE:
                yield node, table


def quantise_tables(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Embedding tables in S8 with a scale per row: a rare word's small row keeps its own precision."""
    editor = Editor(proto)
    for node, table in embedding_tables(editor):
        if any(a.name == "axis" and a.i for a in node.attribute):
            continue
        values, scale = quantise_weight(table, 0, reduce_range=False)
        base, ids, output = node.name, node.input[1], node.output[0]
        editor.nodes.remove(node)
        table_name = editor.add_weight(f"{node.input[0]}.s8", values)
        scale_name = editor.add_weight(f"{node.input[0]}.scale", scale[:, None])
        editor.add_node("Gather", [table_name, ids], [f"{output}.s8"], f"{base}.rows", axis=0)
        editor.add_node("Cast", [f"{output}.s8"], [f"{output}.f32"], f"{base}.cast", to=onnx.TensorProto.FLOAT)
        editor.add_node("Gather", [scale_name, ids], [f"{output}.scale"], f"{base}.scales", axis=0)
        editor.add_node("Mul", [f"{output}.f32", f"{output}.scale"], [output], f"{base}.scale")
    return editor.finish()
