"""Augmentation: other cameras' light and sharpness, each image by itself, nothing when it is off."""

from __future__ import annotations

import pytest
import torch

from foveal_runtime.errors import ConfigError
from foveal_train.training.augment import augment
from foveal_train.training.recipe import AugmentationConfig


def _still(**amounts: float) -> AugmentationConfig:
    off = {"rotation_degrees": 0.0, "brightness": 0.0, "contrast": 0.0}
    return AugmentationConfig(horizontal_flip=False, vertical_flip=False, **{**off, **amounts})


def _images() -> torch.Tensor:
    torch.manual_seed(3)
    return torch.rand(6, 3, 48, 48)


def test_nothing_changes_when_every_amount_is_off() -> None:
    assert _still().is_off
    images = _images()
    torch.testing.assert_close(augment(images, _still()), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "amounts", [{"gamma": 0.5}, {"illumination": 0.5}, {"downscale": 3.0}, {"noise": 0.1}, {"shift": 0.2}, {"zoom": 0.3}]
)
def test_each_amount_alone_changes_images_and_stays_in_range(amounts: dict[str, float]) -> None:
    images = _images()
    config = _still(**amounts)
    changed = augment(images, config)
    assert not config.is_off
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    distances = (changed - images).abs().mean((1, 2, 3))
    assert len({round(float(d), 4) for d in distances}) > 2  # each image by itself
    assert float(distances.max()) > 0.01


def test_scaling_down_takes_fine_detail_alone() -> None:
    images = _images()
    softened = augment(images, _still(downscale=4.0))
    assert float(softened.std()) < 0.8 * float(images.std())
    torch.testing.assert_close(softened.mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)


def test_a_downscale_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="downscale"):
        AugmentationConfig(downscale=0.5)
