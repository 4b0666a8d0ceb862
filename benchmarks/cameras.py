"""Simulated other cameras, for stress tests on photographs of one camera. Simulations, not evidence about any real device.

They act on decoded photographs, before preprocessing, so that finding the field of view is tested with the model.
Unlike training's augmentation they are fixed, and some of them (JPEG, a cut field, a mirrored eye) have no counterpart there.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """What a camera does otherwise than the data set's; the defaults do nothing."""

    name: str
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur_px: float = 0.0
    """Standard deviation of a Gaussian, on 1,000 px."""
    long_side_px: int = 0
    """Scaled down to this long side; 0 keeps the pixels."""
    jpeg_quality: int = 0
    kept: float = 1.0
    """Share of width and height that is kept around the middle: a narrower field, without the black rim."""
    vignette: float = 0.0
    """Fall of brightness at the corners."""
    noise: float = 0.0
    """Standard deviation, of 255."""
    mirrored: bool = False


CAMERAS = (
    Camera(name="warm", gain=(1.2, 0.85, 0.6)),
    Camera(name="cold and pale", gain=(0.8, 1.1, 1.4), gamma=0.75),
    Camera(name="dark", gamma=1.6, vignette=0.5),
    Camera(name="soft", blur_px=3.0),
    Camera(name="small and compressed", long_side_px=400, jpeg_quality=40),
    Camera(name="narrow field", kept=0.72, mirrored=True),
    Camera(name="noisy", noise=14.0, gain=(1.1, 1.0, 0.9)),
)


def through_camera(picture: Image.Image, camera: Camera, *, seed: int) -> Image.Image:
    """An RGB photograph as `camera` would have taken it; `seed` draws its noise."""
    image = picture.copy()
    if camera.kept < 1:
        width, height = image.size
        # Of the field's width: the photograph's own black margins would otherwise remain.
        keep_w, keep_h = camera.kept * width * 0.85, camera.kept * height
        left, top = (width - keep_w) / 2, (height - keep_h) / 2
        image = image.crop((round(left), round(top), round(left + keep_w), round(top + keep_h)))
    if camera.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if camera.blur_px:
        image = image.filter(ImageFilter.GaussianBlur(camera.blur_px * max(image.size) / 1000))
    if camera.long_side_px:
        image.thumbnail((camera.long_side_px, camera.long_side_px))
    seen = np.asarray(image, np.float32) / 255
    if camera.vignette:
        height, width = seen.shape[:2]
        down, across = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
        seen = seen * (1 - camera.vignette * (down**2 + across**2) / 2)[..., None].astype(np.float32)
    seen = np.clip(seen * np.asarray(camera.gain, np.float32), 0, 1) ** camera.gamma
    if camera.noise:
        seen = seen + np.random.default_rng(seed).normal(0, camera.noise / 255, seen.shape).astype(np.float32) * (seen > 0.08)
    found = Image.fromarray(np.round(np.clip(seen, 0, 1) * 255).astype(np.uint8))
    if camera.jpeg_quality:
        buffer = io.BytesIO()
        found.save(buffer, "JPEG", quality=camera.jpeg_quality)
        found = Image.open(buffer).convert("RGB")
    return found


def through_its_camera(picture: Image.Image, number: int) -> Image.Image:
    """Photograph `number` of a study, each through one of `CAMERAS` in turn: it is judged twice, however many they are."""
    return through_camera(picture, CAMERAS[number % len(CAMERAS)], seed=number)
