"""Rounding in training is that of the exported graph: the same tensors, the same steps, and weights that lose nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from foveal_export.graphs import graphs, observers
from foveal_export.graphs.blocks import blocks
from foveal_export.quantise import calibrate, int8
from foveal_export.quantise.plan import GraphPlan, Mode, RangeRule
from foveal_runtime.study.study import Modality
from foveal_train.model.blocks import FLOAT_BLOCKS
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import ModelConfig, profile
from foveal_train.model.weights import build_model
from foveal_train.training.fakequant import FakeQuantised
from foveal_train.training.student import QuantisationConfig

SIDE, COUNT = 64, 6


def _model(backbone: str) -> tuple[MultimodalModel, ModelConfig]:
    """With statistics that are not those of a start, so that folding them changes weights."""
    config = profile("tiny")
    config = replace(config, image=replace(config.image, backbone=backbone))
    model = build_model(config, seed=0).model.train()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.image.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(0.5, 1.5, generator=draw)
                module.bias.uniform_(-0.5, 0.5, generator=draw)
        for _ in range(10):
            model.image(torch.randn(4, 3, SIDE, SIDE, generator=draw))
    return model.eval(), config


def _pixels() -> Tensor:
    return torch.randn(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def _settled(model: MultimodalModel, bits: int = 7) -> FakeQuantised:
    rounding = FakeQuantised(model, QuantisationConfig(epochs=1, weight_bits=bits), [Modality.IMAGE], SIDE)
    rounding.settle()
    return rounding


def _rounded_tensors(rounding: FakeQuantised, model: MultimodalModel, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What a pass over one study rounds, by the name of the range, before it is rounded."""
    seen: dict[str, Tensor] = {}
    with monkeypatch.context() as patch, torch.inference_mode():

        def record(x: Tensor, name: str) -> Tensor:
            seen[name] = x.clone()  # an activation may change it in place
            return x

        patch.setattr(rounding, "_activation", record)
        with rounding.learning(False):
            model.image(_pixels()[:1])
    return seen


def _relative(expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any]) -> float:
    return float(np.linalg.norm(expected - got) / np.linalg.norm(expected - expected.mean()))


def _quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """As export does it, ranges being those of one study."""
    feeds = [{"pixels_BCHW": _pixels()[:1].numpy()}]
    ranges = calibrate.ranges(observers.observe(proto, int8.activations(proto), feeds), RangeRule.MINMAX)
    kept = tuple(block.name for block in blocks(proto)[:FLOAT_BLOCKS])
    return int8.to_int8(proto, GraphPlan(mode=Mode.STATIC, ranges=ranges, keep=kept, reduce_range=True))


@pytest.mark.parametrize("backbone", ["test_efficientnet", "resnet10t", "tf_efficientnet_lite0"])
def test_the_same_tensors_are_rounded_as_in_the_exported_graph(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = _model(backbone)
    rounding = _settled(model)
    ours = _rounded_tensors(rounding, model, monkeypatch)
    proto = graphs.export_graph(model, config, Modality.IMAGE.value)
    theirs = [node.input[0] for node in _quantised(proto).graph.node if node.op_type == "QuantizeLinear"]
    (values,) = observers.run_taps(proto, theirs, [{"pixels_BCHW": _pixels()[:1].numpy()}])
    ends = lambda arrays: sorted((float(a.min()), float(a.max()), a.size) for a in arrays)  # noqa: E731
    own, exported = ends(x.numpy() for x in ours.values()), ends(values[name] for name in theirs)
    assert len(own) == len(exported) > 10
    np.testing.assert_allclose(own, exported, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_that_were_settled_are_rounded_without_loss(bits: int) -> None:
    model, config = _model("test_efficientnet")
    _settled(model, bits)
    proto = graphs.export_graph(model, config, Modality.IMAGE.value)
    feeds = [{"pixels_BCHW": _pixels()[i : i + 1].numpy()} for i in range(COUNT)]
    plan, _ = calibrate.plan_graph(Modality.IMAGE.value, proto, feeds, reduce_range=bits == 7, static_only=False)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for site in int8.sites(proto):
        if site.node.startswith(plan.keep):
            continue
        values, scale = int8.quantise_weight(weights[site.weight], site.axis, reduce_range=bits == 7)
        shape = [1] * values.ndim
        shape[site.axis] = -1
        np.testing.assert_allclose(values * scale.reshape(shape), weights[site.weight], rtol=1e-5, atol=1e-9)
    # Rounding by outputs finds nothing to make up for, nor does the bias correction.
    shifts = [shift for node, shifts in plan.bias.items() if not node.startswith(plan.keep) for shift in shifts]
    assert max(map(abs, shifts)) < 1e-4


def test_with_the_same_ranges_a_pass_rounds_as_the_graph_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first tensor to the last bit, the next but for biases in 32 bits; each flipped step flips others behind it."""
    model, config = _model("test_efficientnet")
    monkeypatch.setattr(int8, "store_half", lambda proto, **_: proto)
    rounding = _settled(model)
    for name, x in _rounded_tensors(rounding, model, monkeypatch).items():
        rounding._ranges[name] = torch.tensor([float(f"{end:.6g}") for end in (min(x.min(), 0), max(x.max(), 0))])
        rounding._seen[name] = 1
    before, after = [], []
    activation = rounding._activation

    def record(x: Tensor, name: str) -> Tensor:
        before.append(x.numpy().copy())
        after.append(activation(x, name).numpy().copy())
        return activation(x, name)

    monkeypatch.setattr(rounding, "_activation", record)
    with torch.inference_mode(), rounding.learning(False):
        model.image(_pixels()[:1])
    graph = _quantised(graphs.export_graph(model, config, Modality.IMAGE.value))
    names = [
        node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear" and node.input[0].endswith(".q8")
    ]
    (values,) = observers.run_taps(graph, names, [{"pixels_BCHW": _pixels()[:1].numpy()}])
    np.testing.assert_array_equal(values[names[0]], after[0])
    for name, x, rounded in zip(names[1:4], before[1:4], after[1:4], strict=True):
        assert _relative(rounded, values[name]) < 0.5 * _relative(rounded, x), name
