"""The graphs of `--target tensorrt`: strongly typed FP16, explicit Q/DQ INT8 over it, and the shapes an engine is built for.

Attention is spelt out (opset 18; 19 where Q/DQ stand over FP16), there is no contrib operator and no dynamic quantisation, and
every node is checked against the published list (see `operators`). No engine is built here: see `builder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from foveal_export.graphs import observers
from foveal_export.graphs.edit import Editor
from foveal_export.quantise.fp16 import HALF_MAX, narrow_convolutions
from foveal_export.quantise.int8 import to_int8
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_export.tensorrt.operators import matrix, unsupported
from foveal_runtime.bundle.manifest import FUSION, Precision, ShapeRange
from foveal_runtime.errors import CheckFailed
from foveal_runtime.study.study import Modality
from foveal_train.model.profile import EMBEDDING_DIM, ModelConfig

MAX_ROWS = 32
"""Rows in one call of an engine; `foveal_runtime.engine.engine` splits what is larger."""
_OPT_ROWS = 8
_OPT_NOTE_TOKENS = 32
_QDQ_OPSET = 19
"""The first in which QuantizeLinear and DequantizeLinear know FP16."""
_FP32_OPS = ("LayerNormalization", "Softmax", "ReduceL2", "ReduceMean", "ReduceSum", "Pow", "Sqrt")
"""Sums over a row, powers and roots."""
_NORMALISING = ("Clip", "Expand", "Div")
"""Behind a norm these divide by it, at least by 1e-12, which FP16 rounds to zero; elsewhere they stay FP16."""
HEADROOM = 4.0
"""A node stays FP32 when calibration saw a value above FP16's largest divided by this."""


def to_tensorrt(proto: onnx.ModelProto, plan: GraphPlan, precision: Precision) -> onnx.ModelProto:
    """One graph as TensorRT's parser reads it.

    Args:
        proto: FP32 with attention spelt out; not changed.
        plan: of this graph; of an INT8 bundle made with symmetric activations.
        precision: of the bundle.

    Raises:
        CheckFailed: a node that TensorRT does not list; every one is named.
    """
    if precision is Precision.FP16:
        made = to_typed_half(proto, plan.keep)
    elif precision is Precision.INT8 and plan.mode is not Mode.FLOAT:
        assert plan.symmetric, "TensorRT quantises around zero"
        made = to_typed_half(to_int8(proto, plan), plan.wide)
    else:
        made = proto if precision is Precision.FP32 else to_typed_half(proto, plan.wide)
    refused = unsupported(made)
    if refused:
        raise CheckFailed(
            f"graph {proto.graph.name} has {len(refused)} nodes that TensorRT does not list ({matrix().source}): "
            f"{'; '.join(refused[:5])}; export with --target onnx"
        )
    return made


def to_typed_half(proto: onnx.ModelProto, keep: Iterable[str]) -> onnx.ModelProto:
    """FP16 weights and arithmetic with explicit types: sensitive nodes stay FP32 between Casts; inputs and outputs as they are.

    Args:
        proto: FP32, Q/DQ pairs included; not changed.
        keep: names of nodes that calibration saw near FP16's limit.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    names = {*keep, *(node.name for node in copy.graph.node if node.op_type in _FP32_OPS)}
    names |= _behind_norms(copy) | narrow_convolutions(copy)
    if any(node.op_type == "QuantizeLinear" for node in copy.graph.node):
        # What opset 19 changes of any operator here is that it takes more types.
        copy.opset_import[0].version = max(copy.opset_import[0].version, _QDQ_OPSET)
    made = convert_float_to_float16(copy, keep_io_types=True, node_block_list=sorted(names), op_block_list=[])
    del made.graph.value_info[:]  # types of the FP32 graph
    made = _without_round_trips(made)
    onnx.checker.check_model(made, full_check=True)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def _without_round_trips(proto: onnx.ModelProto) -> onnx.ModelProto:
    """FP32 nodes read each other directly: through FP16 and back a large value would be infinite. Sorts as well."""
    editor = Editor(proto)
    makers, readers = editor.producers(), editor.consumers()
    kinds = {node.name: next(a.i for a in node.attribute if a.name == "to") for node in editor.nodes if node.op_type == "Cast"}
    for node in list(editor.nodes):
        before = makers.get(node.input[0]) if kinds.get(node.name) == onnx.TensorProto.FLOAT else None
        # The library's own Casts, which take FP32: one of the graph's may come from integers.
        added = before is not None and kinds.get(before.name) == onnx.TensorProto.FLOAT16 and "_cast" in before.name
        if before is not None and added and node.output[0] not in editor.outputs:
            editor.redirect(node.output[0], before.input[0], readers[node.output[0]])
            editor.nodes.remove(node)
    return editor.finish(check=False)


def _behind_norms(proto: onnx.ModelProto) -> set[str]:
    """Names of the Clip, Expand and Div nodes that make a unit vector of what a norm has measured."""
    readers = Editor(proto).consumers()
    found: set[str] = set()
    edge = [node for node in proto.graph.node if node.op_type in ("ReduceL2", "Sqrt")]
    while edge:
        for node in readers.get(edge.pop().output[0], []):
            if node.op_type in _NORMALISING and node.name not in found:
                found.add(node.name)
                if node.op_type != "Div":
                    edge.append(node)
    return found


def overflowing(proto: onnx.ModelProto, feeds: Iterable[observers.Feeds]) -> tuple[str, ...]:
    """Names of the nodes that make or read values near FP16's largest on calibration studies.

    Args:
        proto: FP32.
        feeds: calibration inputs.
    """
    makers = {value: node.name for node in proto.graph.node for value in node.output if value}
    floats = {v.name for v in proto.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    wanted = [value for value in makers if value in floats]
    seen = observers.observe(proto, wanted, feeds)
    limit = HALF_MAX / HEADROOM
    large = [name for name in wanted if max(-seen[name].low, seen[name].high) > limit]
    readers = Editor(proto).consumers()
    return tuple(dict.fromkeys(node for name in large for node in (makers[name], *(r.name for r in readers.get(name, [])))))


def shapes(name: str, config: ModelConfig, image_tokens: int) -> dict[str, ShapeRange]:
    """What an engine of a graph is built for: least, usual and largest shape of each input.

    Args:
        name: a modality or `fusion`.
        config: the run's resolved configuration.
        image_tokens: tokens of a photograph, its CLS included; 0 without photographs.
    """
    text = config.text_spec
    if name == Modality.IMAGE:
        side = config.image_spec.side_px
        return {"pixels_BCHW": _range(lambda rows, _: (rows, 3, side, side), 0, 0, 0)}
    if name == Modality.TEXT:
        of = _range(lambda rows, tokens: (rows, tokens), 2, min(_OPT_NOTE_TOKENS, text.max_tokens), text.max_tokens)
        return {"input_ids_BT": of, "attention_mask_BT": of}
    if name == Modality.STRUCTURED:
        return {"features_BF": _range(lambda rows, _: (rows, len(config.record_spec.features)), 0, 0, 0)}
    assert name == FUSION
    # A CLS for each modality, then the other tokens: photograph, note, and one of the record.
    heads, cells = len(Modality), max(image_tokens - 1, 0)
    least, usual, most = heads + 1, heads + cells + 1, heads + cells + text.kept_tokens + 1
    return {
        "tokens_BTD": _range(lambda rows, tokens: (rows, tokens, EMBEDDING_DIM), least, usual, most),
        "mask_BT": _range(lambda rows, tokens: (rows, tokens), least, usual, most),
    }


def _range(of: Callable[[int, int], tuple[int, ...]], least: int, usual: int, most: int) -> ShapeRange:
    return ShapeRange(min=of(1, least), opt=of(_OPT_ROWS, usual), max=of(MAX_ROWS, most))
