"""The text encoder's graph through Optimum's exporter (`--text-exporter optimum`), with the contract's names.

Optimum exports the BERT as transformers has it; the projection, the kept tokens and the type embedding are added here.
Not the default; see docs/decisions.md.
"""

from __future__ import annotations

import copy
import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs.graphs import graph_spec, quiet
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import Modality
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import ModelConfig

OPSET = 18


def require() -> None:
    """Refuse where Optimum's exporter can't be used.

    Raises:
        ConfigError: it is not installed, or beside a transformers that it was not made for.
    """
    there = importlib.metadata.version("transformers")
    try:
        import optimum.exporters.onnx  # noqa: F401
    except ImportError as error:
        why = f"{error.name or 'optimum'} can't be imported"
    else:
        if not there.startswith("5."):
            return
        why = f"transformers is {there}"
    raise ConfigError(
        f"--text-exporter optimum can't be used: {why}; install foveal[optimum], which holds transformers below 4.58"
    )


def made_with() -> dict[str, str]:
    """Version of Optimum's exporter, by its name."""
    return {"optimum-onnx": importlib.metadata.version("optimum-onnx")}


def export_text(model: MultimodalModel, config: ModelConfig) -> onnx.ModelProto:
    """The FP32 text graph, as `graphs.export_graph` would give it for `text`, but written by Optimum.

    Args:
        model: in evaluation mode, FP32, on the CPU; not changed.
        config: the run's resolved configuration.
    """
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    bert: Any = copy.deepcopy(model.text.bert).eval()
    make = TasksManager.get_exporter_config_constructor("onnx", bert, task="feature-extraction", library_name="transformers")
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "text.onnx"
        export(bert, make(bert.config), path, opset=OPSET)
        proto = onnx.load(path)
    return _with_tail(proto, model, config)


def _with_tail(proto: onnx.ModelProto, model: MultimodalModel, config: ModelConfig) -> onnx.ModelProto:
    """BERT's hidden states cut to the kept tokens, projected, and marked as text."""
    graph, text = proto.graph, model.text
    spec = graph_spec(Modality.TEXT.value, config)
    states = next(value.name for value in graph.output if value.name == "last_hidden_state")
    names = {"input_ids": "input_ids_BT", "attention_mask": "attention_mask_BT"}
    if "token_type_ids" in {value.name for value in graph.input}:
        # Notes are of one segment.
        zeros = helper.make_node("ConstantOfShape", ["segment.shape"], ["token_type_ids"], name="segments",
                                 value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]))  # fmt: skip
        graph.node.insert(0, zeros)
        graph.node.insert(0, helper.make_node("Shape", ["input_ids_BT"], ["segment.shape"], name="segments.shape"))
    for node in graph.node:
        for place, value in enumerate(node.input):
            node.input[place] = names.get(value, value)
    del graph.input[:], graph.output[:]
    for tensor in spec.inputs:
        graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.INT64, list(tensor.shape)))
    (made,) = spec.outputs
    graph.output.append(helper.make_tensor_value_info(made.name, TensorProto.FLOAT, list(made.shape)))
    weights = {
        "project.weight": text.project.weight.detach().T.contiguous(),
        "project.bias": text.project.bias.detach(),
        "type_1D": text.type_1D.detach(),
    }
    for name, value in weights.items():
        graph.initializer.append(numpy_helper.from_array(value.numpy(), name))
    for name, number in {"from": 0, "to": text.kept, "axis": 1}.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray([number], np.int64), f"kept.{name}"))
    graph.node.extend([
        helper.make_node("Slice", [states, "kept.from", "kept.to", "kept.axis"], ["kept"], name="kept"),
        helper.make_node("MatMul", ["kept", "project.weight"], ["projected"], name="project/MatMul"),
        helper.make_node("Add", ["projected", "project.bias"], ["projected.biased"], name="project/Add"),
        helper.make_node("Add", ["projected.biased", "type_1D"], [made.name], name="type/Add"),
    ])  # fmt: skip
    onnx.checker.check_model(proto, full_check=True)
    return proto
