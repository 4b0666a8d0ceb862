"""bfloat16 on a CPU: depthwise convolutions without a fast kernel stay float32, and the step keeps its meaning."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal_train.model.weights import build_model
from foveal_train.training.cpu_speed import Float32Depthwise, has_bf16, kept_memory
from foveal_train.training.recipe_file import load_recipe


def _kind(kernel: int, stride: int, groups: int) -> torch.dtype:
    convolution = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=groups)
    with torch.autocast("cpu", dtype=torch.bfloat16), Float32Depthwise():
        return torch.as_tensor(convolution(torch.zeros(1, 8, 16, 16, dtype=torch.bfloat16))).dtype


def test_only_slow_depthwise_convolutions_stay_float32() -> None:
    assert _kind(5, 1, 8) is torch.float32
    assert _kind(3, 2, 8) is torch.float32
    assert _kind(3, 1, 8) is torch.bfloat16
    assert _kind(1, 1, 1) is torch.bfloat16
    assert _kind(3, 2, 1) is torch.bfloat16


def test_bf16_gradients_point_where_float32_ones_do() -> None:
    if not has_bf16(torch.device("cpu")):
        pytest.skip("this processor has no bfloat16 arithmetic")
    recipe = load_recipe("edge", ("text.weights=random", "text.shape.layers=1"))
    encoder = build_model(recipe.model, seed=0).model.image.train()
    encoder.dropout.p = 0.0
    pixels = torch.rand(8, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    aim = torch.randn(8, 1280, 3, 3)
    found = []
    for bf16 in (False, True):
        encoder.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), Float32Depthwise():
            features = encoder.backbone.forward_features(pixels)  # type: ignore[operator]
        (features.float() * aim).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in encoder.backbone.parameters() if p.grad is not None]))
    assert float(torch.nn.functional.cosine_similarity(*found, dim=0)) > 0.5  # two batches agree to 0.02


def test_kept_memory_changes_no_result() -> None:
    values = torch.arange(4_000_000, dtype=torch.float32)
    with kept_memory():
        inside = (values * 2).sum()
    assert torch.equal(inside, (values * 2).sum())
