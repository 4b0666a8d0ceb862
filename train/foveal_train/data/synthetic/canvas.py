"""Sheets to draw on: coordinate grids, seeded textures, and masks drawn at twice the size. Knows no anatomy.

Places are in units of the field of view's radius: (0, 0) is its middle, x to the right, y down. S is the photograph's side;
planes are float32 `plane_SS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Float32 = npt.NDArray[np.float32]
Point = tuple[float, float]

_OVERSAMPLE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Where the circular field of view lies in a square photograph."""

    side_px: int
    radius_px: float
    centre_x_px: float
    centre_y_px: float

    def grid(self) -> tuple[Float32, Float32]:
        """x_1S and y_S1 of the pixel centres, in radii."""
        ticks = np.arange(self.side_px, dtype=np.float32) + np.float32(0.5)
        x_1S = ((ticks - np.float32(self.centre_x_px)) / np.float32(self.radius_px))[None, :]
        y_S1 = ((ticks - np.float32(self.centre_y_px)) / np.float32(self.radius_px))[:, None]
        return x_1S, y_S1


class Mask:
    """A plane in [0, 1] that shapes are drawn into; soft edges come from oversampling and `plane`'s blur."""

    def __init__(self, field: Field) -> None:
        self._field = field
        size = field.side_px * _OVERSAMPLE
        self._image = Image.new("L", (size, size), 0)
        self._draw = ImageDraw.Draw(self._image)
        self.used = False

    def _px(self, point: Point) -> Point:
        field = self._field
        return (
            (field.centre_x_px + point[0] * field.radius_px) * _OVERSAMPLE,
            (field.centre_y_px + point[1] * field.radius_px) * _OVERSAMPLE,
        )

    def line(self, points: Sequence[Point], widths: Sequence[float], level: float) -> None:
        """A line whose width (radii) may change from point to point."""
        self.used = True
        fill = round(255 * level)
        scale = self._field.radius_px * _OVERSAMPLE
        pixels = [self._px(point) for point in points]
        for start, end, width in zip(pixels, pixels[1:], widths, strict=False):
            self._draw.line((start, end), fill=fill, width=max(1, round(width * scale)))

    def disc(self, centre: Point, radius_x: float, radius_y: float, level: float) -> None:
        """An upright ellipse."""
        self.used = True
        x, y = self._px(centre)
        scale = self._field.radius_px * _OVERSAMPLE
        rx, ry = max(radius_x * scale, 0.7), max(radius_y * scale, 0.7)
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=round(255 * level))

    def polygon(self, points: Sequence[Point], level: float) -> None:
        """A filled polygon."""
        self.used = True
        self._draw.polygon([self._px(point) for point in points], fill=round(255 * level))

    def plane(self, blur: float = 0.0) -> Float32:
        """The mask at the photograph's size.

        Args:
            blur: radius of a Gaussian blur, in radii of the field of view.
        """
        image = self._image.reduce(_OVERSAMPLE)
        if blur > 0:
            image = image.filter(ImageFilter.GaussianBlur(blur * self._field.radius_px))
        return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)


def smooth_noise(rng: np.random.Generator, side_px: int, cells: int, *, stretch: int = 1) -> Float32:
    """Noise of unit deviation whose grains are about side / cells pixels; `stretch` makes them longer in y."""
    coarse = rng.normal(size=(max(cells // stretch, 2), cells)).astype(np.float32)
    image = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


def grain(rng: np.random.Generator, side_px: int) -> Float32:
    """Sensor noise of unit deviation: one fixed sheet, shifted, which is ten times faster than drawing it anew."""
    dy, dx = (int(v) for v in rng.integers(0, side_px, size=2))
    sheet = _grain_sheet(side_px)
    return np.roll(sheet, (dy, dx), axis=(0, 1))


@lru_cache(maxsize=4)
def _grain_sheet(side_px: int) -> Float32:
    raw = np.random.default_rng(20).normal(size=(side_px, side_px)).astype(np.float32)
    # Neighbouring pixels of a JPEG from a colour sensor share their noise.
    soft = raw + 0.5 * (np.roll(raw, 1, 0) + np.roll(raw, 1, 1))
    return np.asarray(soft / soft.std(), dtype=np.float32)
