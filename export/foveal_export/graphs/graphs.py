"""The FP32 ONNX graphs of a model: one per modality and one for fusion, with the names of docs/api.md. Changes no precision.

Node names are the paths of the modules they come from, so that plans, reports and budgets speak of the model's own parts;
everything that could differ from one export to the next (stack traces, paths) is stripped. Shape legend: see `twins`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import onnx
import torch

from foveal_export.graphs.twins import Attend, twin
from foveal_runtime.bundle.manifest import FUSION, Target, Tensor
from foveal_runtime.study.study import Modality
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import EMBEDDING_DIM, ModelConfig

OPSET: dict[Attend, int] = {Attend.FUSED: 23, Attend.PLAIN: 18}
"""23 brings the fused `Attention`; 18 is the newest that TensorRT 10's parser reads whole."""
_MAX_BATCH = 4096
_MAX_FUSION_TOKENS = 4096


def attend_for(target: Target) -> Attend:
    """The spelling of attention that a target reads."""
    return Attend.PLAIN if target is Target.TENSORRT else Attend.FUSED


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSpec:
    """Names and example inputs of one graph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: tuple[torch.Tensor, ...]
    """Batch 2 and odd lengths: an axis of 1 would be taken for a constant."""


def graph_spec(name: str, config: ModelConfig, embedding_dim: int = EMBEDDING_DIM) -> GraphSpec:
    """What the contract says of a graph.

    Args:
        name: a modality or `fusion`.
        config: the run's resolved configuration.
        embedding_dim: width of tokens and vectors.
    """
    tokens = Tensor(name="tokens_BTD", dtype="float32", shape=("batch", "tokens", embedding_dim))
    if name == Modality.IMAGE:
        side = config.image_spec.side_px
        pixels = Tensor(name="pixels_BCHW", dtype="float32", shape=("batch", 3, side, side))
        return GraphSpec(inputs=(pixels,), outputs=(tokens,), examples=(torch.zeros(2, 3, side, side),))
    if name == Modality.TEXT:
        ids, mask = (Tensor(name=n, dtype="int64", shape=("batch", "tokens")) for n in ("input_ids_BT", "attention_mask_BT"))
        kept = tokens.model_copy(update={"shape": ("batch", "kept_tokens", embedding_dim)})
        # Two tensors: of one object the exporter would make one input.
        return GraphSpec(
            inputs=(ids, mask),
            outputs=(kept,),
            examples=(torch.zeros(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)),
        )
    if name == Modality.STRUCTURED:
        count = len(config.record_spec.features)
        features = Tensor(name="features_BF", dtype="float32", shape=("batch", count))
        return GraphSpec(inputs=(features,), outputs=(tokens,), examples=(torch.zeros(2, count),))
    mask = Tensor(name="mask_BT", dtype="bool", shape=("batch", "tokens"))
    return GraphSpec(
        inputs=(tokens, mask),
        outputs=(
            Tensor(name="joint_BD", dtype="float32", shape=("batch", embedding_dim)),
            Tensor(name="cls_BMD", dtype="float32", shape=("batch", len(Modality), embedding_dim)),
            *(
                Tensor(name=f"{head}_BG", dtype="float32", shape=("batch", len(classes)))
                for head, classes in config.head_classes.items()
            ),
        ),
        examples=(torch.zeros(2, 9, embedding_dim), torch.ones(2, 9, dtype=torch.bool)),
    )


def _dynamic_shapes(spec: GraphSpec, name: str, config: ModelConfig) -> tuple[dict[int, Any], ...]:
    ranges = {
        "batch": torch.export.Dim("batch", min=1, max=_MAX_BATCH),
        "tokens": torch.export.Dim("tokens", min=2, max=_MAX_FUSION_TOKENS if name == FUSION else config.text_spec.max_tokens),
    }
    return tuple(
        {axis: ranges[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)} for tensor in spec.inputs
    )


def export_graph(model: MultimodalModel, config: ModelConfig, name: str, how: Attend = Attend.FUSED) -> onnx.ModelProto:
    """One FP32 graph, checked by `onnx.checker` with shape inference.

    Args:
        model: in evaluation mode, FP32, on the CPU; not changed.
        config: the run's resolved configuration.
        name: a modality or `fusion`.
        how: spelling of attention, which also decides the opset.
    """
    spec = graph_spec(name, config, model.embedding_dim)
    module = twin(model, name, how)
    with quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module,
            spec.examples,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=_dynamic_shapes(spec, name, config),
            opset_version=OPSET[how],
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    proto = clean(program.model_proto, f"foveal_{name}")
    _declare(proto, spec)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@contextlib.contextmanager
def quiet() -> Any:
    """The exporter talks on stdout and through warnings; neither is an event for the user of `foveal export`."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def clean(proto: onnx.ModelProto, graph_name: str) -> onnx.ModelProto:
    """Strip what varies between exports, and name nodes and tensors by the modules they come from."""
    proto.producer_name, proto.producer_version, proto.doc_string = "foveal", "", ""
    del proto.metadata_props[:]
    graph = proto.graph
    graph.name, graph.doc_string = graph_name, ""
    del graph.metadata_props[:]
    kept = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    used: Counter[str] = Counter()
    for node in graph.node:
        base = f"{_scope(node)}/{node.op_type}".lstrip("/")
        used[base] += 1
        node.name = base if used[base] == 1 else f"{base}.{used[base]}"
        for place, output in enumerate(node.output):
            if output and output not in kept:
                renamed[output] = f"{node.name}:{place}"
        node.doc_string = ""
        del node.metadata_props[:]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for place, value in enumerate(node.input):
            if value in weights and value not in renamed:
                # A folded constant is called val_17 or the like: it is named by the first node that uses it.
                anonymous = re.fullmatch(r"(val|clone|lifted|_to_copy|expand|tensor)[\w.]*", value) is not None
                renamed[value] = f"{node.name}.constant{place}" if anonymous else value
    for node in graph.node:
        for field in (node.input, node.output):
            for place, value in enumerate(field):
                field[place] = renamed.get(value, value)
    for name, tensor in weights.items():
        tensor.name = renamed.get(name, name)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    # Intermediate shapes stay: ONNX Runtime infers none behind `Attention`, and fuses Skip-LayerNormalization only with them.
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    return proto


def _scope(node: onnx.NodeProto) -> str:
    """Path of the module a node was exported from, "" where the exporter does not say."""
    for prop in node.metadata_props:
        if prop.key == "pkg.torch.onnx.name_scopes":
            scopes: list[str] = re.findall(r"'([^']*)'", prop.value)
            modules = [s for s in scopes[:-1] if s and not s.startswith("_empty")]
            return modules[-1] if modules else ""
    return ""


def _declare(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    """Write the contract's axis names into the graph's inputs and outputs."""
    for values, tensors in ((proto.graph.input, spec.inputs), (proto.graph.output, spec.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            assert value.name == tensor.name
            del value.type.tensor_type.shape.dim[:]
            for size in tensor.shape:
                dim = value.type.tensor_type.shape.dim.add()
                if isinstance(size, str):
                    dim.dim_param = size
                else:
                    dim.dim_value = size
