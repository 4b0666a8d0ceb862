"""Move activation outliers into weights before quantisation: SmoothQuant (Xiao et al., ICML 2023). Quantises nothing.

Only where the scale can be folded into what makes the activation, at no cost in the graph: the scale and bias of a
LayerNormalization, or the projection in front of a ReLU. FP32 results stay the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from foveal_export.graphs.edit import Editor


def candidates(proto: onnx.ModelProto) -> list[str]:
    """Tensors that can be scaled: made by a LayerNormalization or ReLU and read by MatMuls with constant weights alone."""
    editor = Editor(proto)
    producers, consumers = editor.producers(), editor.consumers()
    found = []
    for tensor, node in producers.items():
        readers = consumers.get(tensor, [])
        if not readers or tensor in editor.outputs or not all(_reads(reader, tensor, editor) for reader in readers):
            continue
        if node.op_type == "LayerNormalization" or _through_relu(node, producers, consumers, editor) is not None:
            found.append(tensor)
    return found


def _reads(reader: onnx.NodeProto, tensor: str, editor: Editor) -> bool:
    return reader.op_type == "MatMul" and reader.input[0] == tensor and editor.is_float_weight(reader.input[1])


def _through_relu(
    node: onnx.NodeProto,
    producers: dict[str, onnx.NodeProto],
    consumers: dict[str, list[onnx.NodeProto]],
    editor: Editor,
) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """MatMul and bias Add in front of a ReLU that nobody else reads."""
    if node.op_type != "Relu" or len(consumers.get(node.input[0], [])) != 1:
        return None
    add = producers.get(node.input[0])
    if add is None or add.op_type != "Add" or not editor.is_float_weight(add.input[1]):
        return None
    product = producers.get(add.input[0])
    if product is None or product.op_type != "MatMul" or not editor.is_float_weight(product.input[1]):
        return None
    return (product, add) if len(consumers.get(product.output[0], [])) == 1 else None


def smooth(proto: onnx.ModelProto, channel_max: Mapping[str, Sequence[float]], strength: float) -> onnx.ModelProto:
    """A graph whose outlying activation channels are smaller and the weights that read them larger.

    Args:
        proto: FP32; not changed.
        channel_max: largest magnitude of every channel of the tensors of `candidates`; others stay as they are.
        strength: 0 leaves activations alone, 1 makes every channel as large as the next.
    """
    editor = Editor(proto)
    producers, consumers = editor.producers(), editor.consumers()
    for tensor in candidates(proto):
        if tensor not in channel_max:
            continue
        node, readers = producers[tensor], consumers[tensor]
        weights = [editor.weight(reader.input[1]) for reader in readers]
        largest = np.maximum(np.asarray(channel_max[tensor], np.float64), 1e-5)
        weight_max = np.maximum(np.max([np.abs(w).max(axis=1) for w in weights], axis=0), 1e-5)
        scale = (largest**strength / weight_max ** (1 - strength)).clip(1e-4, 1e4).astype(np.float32)
        for reader, weight in zip(readers, weights, strict=True):
            # A new name: initialisers that were equal in several layers are stored once.
            reader.input[1] = editor.add_weight(f"{reader.name}.smooth", weight * scale[:, None])
        if node.op_type == "LayerNormalization":
            for place in (1, 2):
                if len(node.input) > place and node.input[place]:
                    name = f"{node.name}.smooth{place}"
                    node.input[place] = editor.add_weight(name, editor.weight(node.input[place]) / scale)
        else:
            found = _through_relu(node, producers, consumers, editor)
            assert found is not None
            for part in found:
                part.input[1] = editor.add_weight(f"{part.name}.smooth", editor.weight(part.input[1]) / scale)
    return editor.finish()
