"""Edit a copy of an ONNX graph: look up producers and consumers, add and replace nodes, sort. Knows no precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]


class Editor:
    """A copy of a graph under change; `finish` gives the new graph."""

    def __init__(self, proto: onnx.ModelProto, *, copy: bool = True) -> None:
        """Args:
        proto: the graph.
        copy: False takes the graph over instead of copying it: for one that the caller made and needs no more.
        """
        self.proto = proto
        if copy:
            self.proto = onnx.ModelProto()
            self.proto.CopyFrom(proto)
        graph = self.proto.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.weights: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name for value in graph.input}
        self.outputs = {value.name for value in graph.output}

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Node that makes each tensor."""
        return {output: node for node in self.nodes for output in node.output if output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Nodes that read each tensor, a node as often as it reads it."""
        readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for value in node.input:
                if value:
                    readers[value].append(node)
        return readers

    def weight(self, name: str) -> Array:
        """An initialiser's values."""
        values: Array = numpy_helper.to_array(self.weights[name])
        return values

    def is_float_weight(self, name: str) -> bool:
        """True for a float32 initialiser."""
        return name in self.weights and self.weights[name].data_type == onnx.TensorProto.FLOAT

    def add_weight(self, name: str, values: Array) -> str:
        """Add an initialiser, or replace the one of that name."""
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def add_node(self, op: str, inputs: Iterable[str], outputs: Iterable[str], name: str, **attributes: Any) -> onnx.NodeProto:
        """Append a node; `finish` sorts."""
        node = helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)
        self.nodes.append(node)
        return node

    def redirect(self, old: str, new: str, readers: Iterable[onnx.NodeProto]) -> None:
        """Let `readers` read `new` where they read `old`."""
        for node in readers:
            for place, value in enumerate(node.input):
                if value == old:
                    node.input[place] = new

    def finish(self, *, check: bool = True) -> onnx.ModelProto:
        """Sort, drop initialisers that nothing reads, check."""
        graph = self.proto.graph
        nodes = _sorted(self.nodes, self.inputs | set(self.weights))
        used = {value for node in nodes for value in node.input} | self.outputs
        del graph.node[:]
        graph.node.extend(nodes)
        kept = [self.weights[name] for name in self.weights if name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        made = {output for node in nodes for output in node.output}
        stale = [value for value in graph.value_info if value.name not in made]
        for value in stale:
            graph.value_info.remove(value)
        if check:
            onnx.checker.check_model(self.proto)
        return self.proto


def _sorted(nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Topological order; among nodes that are ready the given order stays, so that the result is always the same."""
    made_by = {output: place for place, node in enumerate(nodes) for output in node.output if output}
    order: list[onnx.NodeProto] = []
    state = [0] * len(nodes)
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            place = stack[-1]
            if state[place] == 2:
                stack.pop()
                continue
            state[place] = 1
            waiting = [
                made_by[value]
                for value in nodes[place].input
                if value and value not in known and value in made_by and state[made_by[value]] != 2
            ]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            state[place] = 2
            order.append(nodes[place])
            stack.pop()
    return order


def in_modules(name: str, modules: Iterable[str]) -> bool:
    """True when a node belongs to one of `modules`: `blocks.1` holds `blocks.1.conv/Conv`, not `blocks.10/Conv`."""
    return any(name == module or name.startswith((module + ".", module + "/")) for module in modules)
