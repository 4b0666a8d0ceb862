"""Sheets to draw on: coordinate grids, seeded textures, and masks drawn at twice the size. Knows no anatomy.

Places are in units of the field of view's radius: (0, 0) is its middle, x to the right, y down. S is the photograph's side;
planes are float32 `plane_SS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
    """A plane in [0, 1] that shapes are drawn into; costs nothing until the first shape."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._image: Image.Image | None = None
        self._pen: ImageDraw.ImageDraw | None = None

    @property
    def used(self) -> bool:
        """True when anything was drawn."""
        return self._image is not None

    def _draw(self) -> ImageDraw.ImageDraw:
        if self._pen is None:
            size = self._field.side_px * _OVERSAMPLE
            self._image = Image.new("L", (size, size), 0)
            self._pen = ImageDraw.Draw(self._image)
        return self._pen

    def _px(self, point: Point) -> Point:
        field = self._field
        return (
            (field.centre_x_px + point[0] * field.radius_px) * _OVERSAMPLE,
            (field.centre_y_px + point[1] * field.radius_px) * _OVERSAMPLE,
        )

    def line(self, points: Sequence[Point], widths: Sequence[float], level: float) -> None:
        """A line whose width (radii) may change from point to point."""
        draw, fill = self._draw(), round(255 * level)
        scale = self._field.radius_px * _OVERSAMPLE
        whole = [max(1, round(width * scale)) for width in widths]
        pixels = [self._px(point) for point in points]
        first = 0
        # Pieces of one width are one call: Pillow's calls cost more than its pixels.
        for i in range(1, len(pixels)):
            if i == len(pixels) - 1 or whole[i] != whole[first]:
                draw.line(pixels[first : i + 1], fill=fill, width=whole[first])
                first = i

    def disc(self, centre: Point, radius_x: float, radius_y: float, level: float) -> None:
        """An upright ellipse."""
        x, y = self._px(centre)
        scale = self._field.radius_px * _OVERSAMPLE
        rx, ry = max(radius_x * scale, 0.7), max(radius_y * scale, 0.7)
        self._draw().ellipse((x - rx, y - ry, x + rx, y + ry), fill=round(255 * level))

    def polygon(self, points: Sequence[Point], level: float) -> None:
        """A filled polygon."""
        self._draw().polygon([self._px(point) for point in points], fill=round(255 * level))

    def patch(self, blur: float = 0.0) -> tuple[tuple[slice, slice], Float32]:
        """The part of the mask that holds anything: where it lies in the photograph, and its values.

        Args:
            blur: radius of the blur, in radii of the field of view.
        """
        assert self._image is not None, "an unused mask has no patch"
        side = self._field.side_px
        blur_px = blur * self._field.radius_px
        box = self._image.getbbox()
        if box is None:  # everything was drawn outside the photograph
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
        margin = 3 * blur_px + 1
        left, top = (max(int(v / _OVERSAMPLE - margin), 0) for v in box[:2])
        right, bottom = (min(int(v / _OVERSAMPLE + margin) + 1, side) for v in box[2:])
        image = self._image.reduce(
            _OVERSAMPLE, (left * _OVERSAMPLE, top * _OVERSAMPLE, right * _OVERSAMPLE, bottom * _OVERSAMPLE)
        )
        if blur_px >= 4:
            # A wide blur needs no fine pixels.
            small = image.reduce(4).filter(ImageFilter.GaussianBlur(blur_px / 4))
            image = small.resize(image.size, Image.Resampling.BILINEAR)
        elif blur_px > 0:
            image = image.filter(ImageFilter.BoxBlur(blur_px))
        return (slice(top, bottom), slice(left, right)), np.asarray(image, dtype=np.float32) * np.float32(1 / 255)


def mottle(rng: np.random.Generator, side_px: int, octaves: Sequence[tuple[int, float]]) -> Float32:
    """Smooth noise: for each (cells, deviation), coarsest first, grains of about side / cells pixels."""
    total: Float32 | None = None
    for cells, deviation in octaves:
        fresh = np.float32(deviation) * rng.standard_normal((cells, cells), dtype=np.float32)
        total = fresh if total is None else fresh + _enlarge(total, cells)
    assert total is not None, "at least one octave"
    return _enlarge(total, side_px)


def ridges(rng: np.random.Generator, side_px: int, cells: int) -> Float32:
    """Bright ridges in a net, as choroidal vessels shine through a thin retina; mean about 0."""
    return np.float32(0.8) - np.abs(_enlarge(rng.standard_normal((cells * 2 // 3, cells), dtype=np.float32), side_px))


def _enlarge(plane: Float32, side_px: int) -> Float32:
    return np.asarray(Image.fromarray(plane).resize((side_px, side_px), Image.Resampling.BICUBIC), dtype=np.float32)


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


def blend(rgb_CSS: Float32, mask: Mask, colour: tuple[float, float, float], *, blur: float, strength: float = 0.92) -> None:
    """Mix a colour in where the mask is set."""
    if not mask.used:
        return
    where, alpha = mask.patch(blur)
    alpha *= np.float32(strength)
    for plane, value in zip(rgb_CSS, colour, strict=True):
        part = plane[where]
        part += alpha * (np.float32(value) - part)


def absorb(rgb_CSS: Float32, mask: Mask, weights: tuple[float, float, float], *, blur: float, strength: float = 1.0) -> None:
    """Darken where the mask is set, as a pigment of these optical densities does."""
    if not mask.used:
        return
    where, density = mask.patch(blur)
    for plane, weight in zip(rgb_CSS, weights, strict=True):
        part = plane[where]
        part *= np.exp(density * np.float32(-weight * strength))


def smoothstep(distance: npt.NDArray[Any], softness: float) -> Float32:
    """0 outside, 1 inside, smooth over `softness`."""
    t = np.clip(distance / np.float32(softness) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
