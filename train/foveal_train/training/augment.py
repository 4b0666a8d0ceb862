"""Training-time changes of photographs, on whole batches of squares. Validation and serving never see this module.

Shapes: B studies, S the profile's side, C three channels.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_train.training.lesions import BatchLesions
from foveal_train.training.recipe import AugmentationConfig


def _signs(batch: int, on: bool) -> Tensor:
    return (torch.rand(batch) < 0.5).float() * 2 - 1 if on else torch.ones(batch)


def _jitter(images_BCSS: Tensor, amount: float, channels: int = 1) -> Tensor:
    drawn = 1 + (torch.rand(images_BCSS.shape[0], channels, 1, 1) * 2 - 1) * amount
    return drawn.to(images_BCSS.device, non_blocking=True)


def _uniform(images_BCSS: Tensor, amount: float) -> Tensor:
    """Between -`amount` and `amount`, shaped to be added to images."""
    return ((torch.rand(images_BCSS.shape[0], 1, 1, 1) * 2 - 1) * amount).to(images_BCSS.device, non_blocking=True)


def _share(images_BCSS: Tensor) -> Tensor:
    """Between 0 and 1, likewise."""
    return torch.rand(images_BCSS.shape[0], 1, 1, 1).to(images_BCSS.device, non_blocking=True)


def augment(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """`augment_with` of photographs without maps."""
    return augment_with(images_BCSS, config)[0]


def augment_with(
    images_BCSS: Tensor, config: AugmentationConfig, lesions: BatchLesions | None = None
) -> tuple[Tensor, BatchLesions | None]:
    """Change each image by itself, as the paper does (section IV-A1) and as other cameras would. Draws from torch's generators:
    amounts on the host, whatever the device, and noise on the device.

    Args:
        images_BCSS: float32 in [0, 1], on any device.
        config: how much.
        lesions: maps of some of them, on the same device, which are turned as their photographs are.

    Returns:
        A new tensor in [0, 1], what a rotation uncovers being black, as outside the field of view; and the maps.
    """
    theta_B23 = _geometry(images_BCSS.shape[0], config).to(images_BCSS.device, non_blocking=True)
    turned = _turned(images_BCSS, theta_B23)
    if lesions is not None:
        lesions = replace(lesions, maps_BKRR=_turned(lesions.maps_BKRR, theta_B23[lesions.rows]))
    mean = turned.mean((1, 2, 3), keepdim=True)
    contrasted = (turned - mean) * _jitter(turned, config.contrast) + mean
    coloured = contrasted * _jitter(turned, config.brightness) * _jitter(turned, config.colour, channels=3)
    return _as_another_camera(coloured.clamp(0, 1), config).clamp(0, 1), lesions


def _geometry(batch: int, config: AugmentationConfig) -> Tensor:
    """Flips, rotation, zoom and shift of each image, `theta_B23`."""
    angle = (torch.rand(batch) * 2 - 1) * math.radians(config.rotation_degrees)
    scale = 1 + (torch.rand(batch) * 2 - 1) * config.zoom
    flip_x, flip_y = _signs(batch, config.horizontal_flip), _signs(batch, config.vertical_flip)
    # The grid spans -1 to 1, two units a side.
    shift_B2 = (torch.rand(batch, 2) * 2 - 1) * 2 * config.shift if config.shift else torch.zeros(batch, 2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    return torch.stack(
        [
            torch.stack([cos * flip_x, -sin * flip_y, shift_B2[:, 0]], 1),
            torch.stack([sin * flip_x, cos * flip_y, shift_B2[:, 1]], 1),
        ],
        1,
    )


def _turned(images_BCSS: Tensor, theta_B23: Tensor) -> Tensor:
    """All of it in one resampling."""
    grid = F.affine_grid(theta_B23, list(images_BCSS.shape), align_corners=False)
    return F.grid_sample(images_BCSS, grid, align_corners=False)


def _as_another_camera(images_BCSS: Tensor, config: AugmentationConfig) -> Tensor:
    """Tone curve, illumination, sharpness and noise, in a camera's order; nothing is drawn for what is off."""
    side = images_BCSS.shape[-1]
    seen = images_BCSS
    if config.illumination:
        ramp = torch.linspace(-1, 1, side, device=seen.device)
        across = ramp.view(1, 1, 1, side) * _uniform(seen, 1) + ramp.view(1, 1, side, 1) * _uniform(seen, 1)
        rim = (ramp.square().view(1, 1, 1, side) + ramp.square().view(1, 1, side, 1)) * _share(seen)
        seen = seen * (1 - config.illumination * (across.clamp(-1, 1) + rim) / 2).clamp(min=0)
    if config.downscale > 1:
        seen = torch.cat([_softened(image, config.downscale) for image in seen.split(1)])
    if config.gamma:
        seen = seen.clamp(1e-6, 1) ** torch.exp(_uniform(seen, config.gamma))
    if config.noise:
        seen = seen + torch.randn_like(seen) * _share(seen) * config.noise
    return seen


def _softened(image_1CSS: Tensor, most: float) -> Tensor:
    """Scaled down by a random factor and back, or one time in two left alone."""
    if float(torch.rand(())) < 0.5:
        return image_1CSS
    side = image_1CSS.shape[-1]
    small = max(8, round(side / (1 + float(torch.rand(())) * (most - 1))))
    down = F.interpolate(image_1CSS, size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(down, size=(side, side), mode="bilinear", align_corners=False)
