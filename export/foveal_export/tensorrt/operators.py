"""Is every node of a graph one that TensorRT's ONNX parser reads? The published matrix, as data, and the check.

A first check that needs no TensorRT; the parser itself decides (see `parser`). The matrix is that of TensorRT 10.15
(operators.json says where it comes from). Opsets stay at 19 or below, which every parser of TensorRT 10 and 11 reads.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

MAX_OPSET = 19
_GROUPS = {
    "FLOAT": {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16},
    "INT": {TensorProto.INT32, TensorProto.INT64},
    "INT8": {TensorProto.INT8},
    "UINT8": {TensorProto.UINT8},
    "BOOL": {TensorProto.BOOL},
}
_TESTS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class Matrix:
    """The published support matrix."""

    source: str
    types: dict[str, frozenset[int]]
    """By operator: element types of the data it takes and gives."""
    constant_axes: frozenset[str]
    """Operators whose axes must be known when the engine is built."""


def matrix() -> Matrix:
    """The matrix that ships with foveal."""
    text = importlib.resources.files("foveal_export.tensorrt").joinpath("operators.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    types: dict[str, frozenset[int]] = {
        name: frozenset(int(kind) for group in groups for kind in _GROUPS[group])
        for name, groups in document["supported"].items()
    }
    return Matrix(document["source"], types, frozenset(document["axes_must_be_constant"]))


def unsupported(proto: onnx.ModelProto) -> list[str]:
    """What TensorRT's parser would refuse of a graph, one line a finding; empty when it reads all of it."""
    known = matrix()
    found = [f"opset {o.version} of {o.domain or 'ai.onnx'}" for o in proto.opset_import if o.domain or o.version > MAX_OPSET]
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    types = _types(proto)
    for node in proto.graph.node:
        found += [f"{node.name} ({node.op_type}): {why}" for why in _why_not(node, known, types, constants)]
    return found


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor that shape inference can tell."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**known, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def _why_not(node: onnx.NodeProto, known: Matrix, types: dict[str, int], constants: dict[str, TensorProto]) -> Iterator[str]:
    if node.domain or node.op_type not in known.types:
        yield f"not in the list ({node.domain or 'ai.onnx'})"
        return
    data = node.input[1:2] if node.op_type == "Where" else node.input[:1]
    made = () if node.op_type in (*_TESTS, *_QUANTISING, "Shape", "Size") else node.output
    for value in (*data, *made):
        if value and types.get(value) not in known.types[node.op_type]:
            kind = types.get(value)
            yield f"{value} has type {'unknown' if kind is None else TensorProto.DataType.Name(kind)}"
    if node.op_type in known.constant_axes and len(node.input) > 1 and node.input[1] not in constants:
        yield "its axes are no constant"
    if node.op_type in _QUANTISING:
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is None or zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any():
            yield "its zero point is no constant S8 zero"
        if node.input[1] not in constants:
            yield "its scale is no constant"
