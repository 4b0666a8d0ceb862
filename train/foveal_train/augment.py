"""Training-time changes of photographs, on whole batches of squares. Validation and serving never see this module.

Shapes: B studies, S the profile's side, C three channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_train.recipe import AugmentationConfig


def _signs(batch: int, on: bool) -> Tensor:
    return (torch.rand(batch) < 0.5).float() * 2 - 1 if on else torch.ones(batch)


def _jitter(batch: int, amount: float, channels: int = 1) -> Tensor:
    return 1 + (torch.rand(batch, channels, 1, 1) * 2 - 1) * amount


def augment(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """Flip, rotate, zoom and jitter each image by itself (paper, section IV-A1). Draws from torch's global generator.

    Args:
        images_BCSS: float32 in [0, 1].
        config: how much.

    Returns:
        A new tensor in [0, 1]; what a rotation uncovers is black, as outside the field of view.
    """
    batch = images_BCSS.shape[0]
    angle = (torch.rand(batch) * 2 - 1) * math.radians(config.rotation_degrees)
    scale = 1 + (torch.rand(batch) * 2 - 1) * config.zoom
    flip_x, flip_y = _signs(batch, config.horizontal_flip), _signs(batch, config.vertical_flip)
    cos, sin, zero = torch.cos(angle) * scale, torch.sin(angle) * scale, torch.zeros(batch)
    theta_B23 = torch.stack(
        [torch.stack([cos * flip_x, -sin * flip_y, zero], 1), torch.stack([sin * flip_x, cos * flip_y, zero], 1)], 1
    )
    grid = F.affine_grid(theta_B23, list(images_BCSS.shape), align_corners=False)
    turned = F.grid_sample(images_BCSS, grid, align_corners=False)
    mean = turned.mean((1, 2, 3), keepdim=True)
    contrasted = (turned - mean) * _jitter(batch, config.contrast) + mean
    coloured = contrasted * _jitter(batch, config.brightness) * _jitter(batch, config.colour, channels=3)
    return coloured.clamp(0, 1)
