"""The FP32 graphs: names, axes, fused kernels, agreement with PyTorch, the same bytes every time."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from foveal_export.graphs import observers
from foveal_export.graphs.graphs import export_graph, graph_spec
from foveal_export.graphs.text_optimum import export_text
from foveal_export.graphs.twins import Attend, flat
from foveal_export.quantise.int8 import to_int8
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_runtime.bundle.manifest import FUSION
from foveal_runtime.study.study import Modality
from foveal_train.model.profile import profile
from foveal_train.model.weights import build_model
from foveal_train.runs.run import Run

NAMES = (*[m.value for m in Modality], FUSION)
LARGE = tuple(name for name in NAMES if name != Modality.STRUCTURED)
"""Graphs whose tracing takes several seconds."""


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return Run.open(tiny_run)


@pytest.fixture(scope="module")
def protos(run: Run, traced: Callable[..., onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    return {name: traced(run.model, run.info.model, name) for name in NAMES}


def _inputs(name: str, batch: int, tokens: int) -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(batch * 100 + tokens)
    if name == Modality.IMAGE:
        return (torch.randn(batch, 3, 64, 64, generator=made),)
    if name == Modality.TEXT:
        mask = torch.ones(batch, tokens, dtype=torch.int64)
        mask[-1, tokens // 2 :] = 0
        return torch.randint(5, 900, (batch, tokens), generator=made), mask
    if name == Modality.STRUCTURED:
        return (torch.randn(batch, 6, generator=made),)
    mask = torch.rand(batch, tokens + 3, generator=made) > 0.3
    mask[:, 0] = True
    return torch.randn(batch, tokens + 3, 256, generator=made), mask


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "tokens"), [(1, 2), (3, 11), (5, 128)])
def test_graph_agrees_with_pytorch_at_any_batch_and_length(
    run: Run, protos: dict[str, onnx.ModelProto], name: str, batch: int, tokens: int
) -> None:
    inputs = _inputs(name, batch, tokens)
    session = observers.session(protos[name], threads=1)
    spec = graph_spec(name, run.info.model)
    got = session.run(
        [t.name for t in spec.outputs], {t.name: value.numpy() for t, value in zip(spec.inputs, inputs, strict=True)}
    )
    with torch.inference_mode():
        expected = getattr(run.model, name)(*inputs)
    expected = flat(expected) if name == FUSION else (expected,)
    for ours, theirs in zip(got, expected, strict=True):
        if name == Modality.TEXT:
            # Padding rows mean nothing; fusion masks them.
            keep = inputs[1][:, : ours.shape[1]].bool()
            np.testing.assert_allclose(ours[keep.numpy()], theirs[keep].numpy(), atol=1e-4)
        else:
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def _kernels(proto: onnx.ModelProto, folder: Path) -> Counter[str]:
    """Operators that ONNX Runtime really runs, its own fusions included."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(proto.SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_vision_transformer_keeps_its_kernels_in_fp32_and_int8(tmp_path: Path) -> None:
    tiny = profile("tiny")
    image = dataclasses.replace(tiny.image, backbone="test_vit", pooled_cls=False)
    config = dataclasses.replace(tiny, image=image, image_spec=dataclasses.replace(tiny.image_spec, side_px=160))
    exact = export_graph(build_model(config, seed=0).model, config, Modality.IMAGE.value)
    ops = _kernels(exact, tmp_path)
    assert ops["Attention"] == 6
    assert ops["LayerNormalization"] + ops["SkipLayerNormalization"] == 13
    assert ops["BiasGelu"] + ops["Gelu"] == 6
    assert ops["Softmax"] == ops["Transpose"] == ops["Erf"] == 0
    ops = _kernels(to_int8(exact, GraphPlan(mode=Mode.DYNAMIC)), tmp_path)
    # Six products a block and the projection; query, key and value share one quantised input.
    assert ops["DynamicQuantizeMatMul"] + ops["MatMulIntegerToFloat"] == 37
    assert ops["DynamicQuantizeLinear"] == 6
    assert ops["MatMul"] == ops["MatMulInteger"] == 0
    assert ops["Attention"] == ops["Gelu"] == 6


def test_attention_and_layer_normalisation_stay_fused(protos: dict[str, onnx.ModelProto], tmp_path: Path) -> None:
    for name, blocks in ((Modality.TEXT.value, 2), (FUSION, 2)):
        ops = _kernels(protos[name], tmp_path)
        assert ops["Attention"] == blocks
        assert ops["Softmax"] == 0
        assert ops["Transpose"] == 0
        assert ops["LayerNormalization"] + ops["SkipLayerNormalization"] == 2 * blocks + 1
        assert ops["Erf"] == 0
        assert ops["BiasGelu"] + ops["Gelu"] == (blocks if name == Modality.TEXT else 0)


def test_batch_normalisation_is_folded_into_convolutions(protos: dict[str, onnx.ModelProto]) -> None:
    assert not [n for n in protos["image"].graph.node if n.op_type in ("BatchNormalization", "Sqrt")]


@pytest.mark.usefixtures("optimum")
def test_text_graph_through_optimum_agrees_with_pytorch(run: Run) -> None:
    proto = export_text(run.model, run.info.model)
    inputs = _inputs("text", 3, 11)
    names = [tensor.name for tensor in graph_spec("text", run.info.model).inputs]
    feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    got = observers.session(proto, threads=1).run(["tokens_BTD"], feeds)[0]
    with torch.inference_mode():
        expected = run.model.text(*inputs)
    keep = inputs[1][:, : got.shape[1]].bool()
    np.testing.assert_allclose(got[keep.numpy()], expected[keep].numpy(), atol=1e-4)


@pytest.mark.parametrize("name", [Modality.STRUCTURED.value, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_second_export_gives_the_same_bytes_and_no_paths(run: Run, protos: dict[str, onnx.ModelProto], name: str) -> None:
    again = export_graph(run.model, run.info.model, name).SerializeToString(deterministic=True)
    assert again == protos[name].SerializeToString(deterministic=True)
    assert b"site-packages" not in again
    assert b".py" not in again


@pytest.mark.parametrize("name", [Modality.STRUCTURED.value, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_export_leaves_the_model_as_it_was(run: Run, name: str) -> None:
    assert export_graph(run.model, run.info.model, name)
    fresh = Run.open(run.path).model.state_dict()
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, fresh[key]), key


def test_plain_attention_graph_has_no_attention_op_and_agrees(
    run: Run, protos: dict[str, onnx.ModelProto], traced: Callable[..., onnx.ModelProto]
) -> None:
    plain = traced(run.model, run.info.model, FUSION, Attend.PLAIN)
    assert not [n for n in plain.graph.node if n.op_type == "Attention"]
    tokens, mask = (value.numpy() for value in _inputs(FUSION, 2, 9))
    feeds = {"tokens_BTD": tokens, "mask_BT": mask}
    ours, theirs = (observers.session(p, threads=1).run(["joint_BD"], feeds)[0] for p in (plain, protos[FUSION]))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
