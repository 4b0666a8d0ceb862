"""The camera's part of a photograph: light, haze, dust, grain, focus, black outside the field, JPEG. Knows no tissue."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from foveal_train.data.synthetic.canvas import Field, Float32, Mask, blend, grain, smoothstep
from foveal_train.data.synthetic.patients import Camera, Quality

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a camera renders the same eye."""

    tissue: tuple[float, float, float]
    """RGB of healthy retina in the middle of the field, 0 to 1."""
    vignette: float
    """Light lost at the field's edge."""
    radius: float
    """Field of view's radius over half the photograph's side; above 1 it is cut at the borders."""
    grain: float
    edge_glow: float
    """Brightness of the rim of stray light."""


LOOKS = {
    Camera.CANON: Look(tissue=(0.76, 0.37, 0.16), vignette=0.34, radius=1.03, grain=0.008, edge_glow=0.0),
    Camera.NIKON: Look(tissue=(0.68, 0.36, 0.20), vignette=0.20, radius=0.96, grain=0.013, edge_glow=0.10),
}


def photograph(
    rng: np.random.Generator, rgb_CSS: Float32, view: Field, *, camera: Camera, quality: Quality, age_years: float
) -> UInt8:
    """Light, lens and sensor: vignette, haze, blur, grain, and the black outside the field."""
    look = LOOKS[camera]
    side = view.side_px
    x_1S, y_S1 = view.grid()
    aim = rng.normal(0, 0.14, size=2)
    poor = quality.illumination
    tilt = rng.normal(0, 0.22 if poor else 0.05, size=2)
    haze = max(0.0, float(rng.normal(0.02, 0.02)) + 0.0012 * max(age_years - 60, 0))
    # Separable in x and y: one addition a pixel.
    fall = np.float32(look.vignette * (1.7 if poor else 1.0))
    level = np.float32(float(np.exp(rng.normal(0.02, 0.10))) * (float(rng.uniform(0.5, 0.75)) if poor else 1.0))
    across_1S = level * (1 - fall * (x_1S - aim[0]) ** 2 + np.float32(tilt[0]) * x_1S)
    down_S1 = level * (np.float32(tilt[1]) * y_S1 - fall * (y_S1 - aim[1]) ** 2)
    light = np.maximum(across_1S + down_S1, np.float32(0.03), dtype=np.float32)
    inside, rim = _aperture(view)
    if look.edge_glow:
        light += np.float32(look.edge_glow) * rim
    for plane, veil in zip(rgb_CSS, (0.62, 0.42, 0.30), strict=True):
        plane *= np.float32(1 - haze)
        plane += np.float32(haze * veil)
        plane *= light
    if quality.artifacts:
        _dust(rng, rgb_CSS, view)
    noise = grain(rng, side) * np.float32(look.grain)
    planes = []
    for plane in rgb_CSS:
        plane += noise
        np.clip(plane, 0, 1.15, out=plane)
        # Highlights roll off like film: discs and exudates keep their texture.
        plane *= 1 - np.float32(0.12) * plane * plane
        plane *= inside
        plane *= np.float32(255)
        planes.append(Image.fromarray(plane.astype(np.uint8)))
    image = Image.merge("RGB", planes)
    if quality.focus:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.6, 3.2)) * side / 512))
    return np.asarray(image, dtype=np.uint8)


@lru_cache(maxsize=4)
def _aperture(view: Field) -> tuple[Float32, Float32]:
    """1 inside the field of view, 0 outside; and a rim that grows towards the edge."""
    x_1S, y_S1 = view.grid()
    r2_SS = x_1S**2 + y_S1**2
    return smoothstep(1 - np.sqrt(r2_SS), 2.5 / view.radius_px), np.maximum(r2_SS - np.float32(0.72), 0)


def _dust(rng: np.random.Generator, rgb_CSS: Float32, view: Field) -> None:
    """Out-of-focus dust on the lens: pale discs."""
    mask = Mask(view)
    for _ in range(int(rng.integers(3, 9))):
        x, y = (float(v) for v in rng.uniform(-0.7, 0.7, size=2))
        radius = float(rng.uniform(0.03, 0.09))
        mask.disc((x, y), radius, radius, float(rng.uniform(0.2, 0.5)))
    blend(rgb_CSS, mask, (0.80, 0.72, 0.62), blur=0.012, strength=0.6)


def jpeg_bytes(rgb_HWC: UInt8, *, quality: int = 88) -> bytes:
    """The photograph as a baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(rgb_HWC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
