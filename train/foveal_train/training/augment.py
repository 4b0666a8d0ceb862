"""Training-time changes of photographs, on whole batches of squares. Validation and serving never see this module.

Shapes: B studies, S the profile's side, C three channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_train.training.recipe import AugmentationConfig


def _signs(batch: int, on: bool) -> Tensor:
    return (torch.rand(batch) < 0.5).float() * 2 - 1 if on else torch.ones(batch)


def _jitter(batch: int, amount: float, channels: int = 1) -> Tensor:
    return 1 + (torch.rand(batch, channels, 1, 1) * 2 - 1) * amount


def _uniform(batch: int, amount: float) -> Tensor:
    """Between -`amount` and `amount`, shaped to be added to images."""
    return (torch.rand(batch, 1, 1, 1) * 2 - 1) * amount


def augment(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """Change each image by itself, as the paper does (section IV-A1) and as other cameras would. Draws from torch's generator.

    Args:
        images_BCSS: float32 in [0, 1].
        config: how much.

    Returns:
        A new tensor in [0, 1]; what a rotation uncovers is black, as outside the field of view.
    """
    turned = _turned(images_BCSS, config)
    mean = turned.mean((1, 2, 3), keepdim=True)
    batch = turned.shape[0]
    contrasted = (turned - mean) * _jitter(batch, config.contrast) + mean
    coloured = contrasted * _jitter(batch, config.brightness) * _jitter(batch, config.colour, channels=3)
    return _as_another_camera(coloured.clamp(0, 1), config).clamp(0, 1)


def _turned(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """Flips, rotation, zoom and shift in one resampling."""
    batch = images_BCSS.shape[0]
    angle = (torch.rand(batch) * 2 - 1) * math.radians(config.rotation_degrees)
    scale = 1 + (torch.rand(batch) * 2 - 1) * config.zoom
    flip_x, flip_y = _signs(batch, config.horizontal_flip), _signs(batch, config.vertical_flip)
    # The grid spans -1 to 1, two units a side.
    shift_B2 = (torch.rand(batch, 2) * 2 - 1) * 2 * config.shift if config.shift else torch.zeros(batch, 2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta_B23 = torch.stack(
        [
            torch.stack([cos * flip_x, -sin * flip_y, shift_B2[:, 0]], 1),
            torch.stack([sin * flip_x, cos * flip_y, shift_B2[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta_B23, list(images_BCSS.shape), align_corners=False)
    return F.grid_sample(images_BCSS, grid, align_corners=False)


def _as_another_camera(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """Tone curve, illumination, sharpness and noise, in a camera's order; nothing is drawn for what is off."""
    batch, _, side, _ = images_BCSS.shape
    seen = images_BCSS
    if config.illumination:
        ramp = torch.linspace(-1, 1, side)
        across = ramp.view(1, 1, 1, side) * _uniform(batch, 1) + ramp.view(1, 1, side, 1) * _uniform(batch, 1)
        rim = (ramp.square().view(1, 1, 1, side) + ramp.square().view(1, 1, side, 1)) * torch.rand(batch, 1, 1, 1)
        seen = seen * (1 - config.illumination * (across.clamp(-1, 1) + rim) / 2).clamp(min=0)
    if config.downscale > 1:
        seen = torch.cat([_softened(image, config.downscale) for image in seen.split(1)])
    if config.gamma:
        seen = seen.clamp(1e-6, 1) ** torch.exp(_uniform(batch, config.gamma))
    if config.noise:
        seen = seen + torch.randn_like(seen) * torch.rand(batch, 1, 1, 1) * config.noise
    return seen


def _softened(image_1CSS: Tensor, most: float) -> Tensor:
    """Scaled down by a random factor and back, or one time in two left alone."""
    if float(torch.rand(())) < 0.5:
        return image_1CSS
    side = image_1CSS.shape[-1]
    small = max(8, round(side / (1 + float(torch.rand(())) * (most - 1))))
    down = F.interpolate(image_1CSS, size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(down, size=(side, side), mode="bilinear", align_corners=False)
