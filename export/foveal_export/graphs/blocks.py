"""The blocks of a graph: units of about a layer, by which sensitivity is ranked and drift reported. Runs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from foveal_train.model.blocks import block_of


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a graph that shares a module path."""

    name: str
    """Module path; a prefix of its nodes' names."""
    nodes: tuple[str, ...]
    output: str
    """The tensor that leaves it."""


def blocks(proto: onnx.ModelProto) -> list[Block]:
    """Blocks in graph order; those that hold no arithmetic with weights are left out."""
    members: dict[str, list[onnx.NodeProto]] = {}
    weights = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        members.setdefault(block_of(node.name), []).append(node)
    found = []
    for name, nodes in members.items():
        if any(n.op_type in ("Conv", "MatMul", "Gemm") and n.input[1] in weights for n in nodes):
            found.append(Block(name, tuple(node.name for node in nodes), nodes[-1].output[0]))
    return found


def work(proto: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Multiply-adds and weights of every block of `blocks`; an axis of unknown length counts as one.

    Args:
        proto: with the shapes of its tensors, as exported.
    """
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.value_info, *proto.graph.output)
    }
    found = {block.name: (0, 0) for block in blocks(proto)}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in sizes:
            shape, size = shapes.get(node.output[0], []), sizes[node.input[1]]
            places = math.prod(shape[2:] if node.op_type == "Conv" else shape[:-1])
            products, weights = found[block_of(node.name)]
            found[block_of(node.name)] = products + size * places, weights + size
    return found
