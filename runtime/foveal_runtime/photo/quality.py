"""Can this photograph be graded? Checks on a reduced copy, each with one threshold. Knows nothing of models.

The checks follow the usual split of retinal image quality into illumination, focus, field definition and "is it a fundus at
all" (Fleming et al. 2006). Cameras differ in size, colour, black level and how much of the circle they keep, so everything is
measured on a copy whose field of view is `_FIELD_PX` wide, and against the photograph's own brightness. The thresholds were set
on one half of IDRiD, its photographs also recast as other cameras would give them, and are reported on the other half
(benchmarks/runtime_quality.py). A photograph that passes is gradable by these checks, no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image

from foveal_runtime.photo.imaging import Bool, Float32, UInt8

_FIELD_PX = 256
"""Diameter of the field of view in the copy. Smaller photographs are measured as they are."""
_PROBE_PX = 128
"""Long side of the copy on which the field of view is found."""
_BLACK = 18
"""Camera black stays below it in the brightest channel, unless the whole photograph is raised."""
_BLACK_SHARE = 0.2
"""Of the photograph's bright end: what is darker does not belong to the field of view."""


class Quality(Enum):
    """The verdict; the value is the sentence for people."""

    GRADABLE = "the photograph can be graded"
    TOO_DARK = "the photograph is blank or too dark; check the flash and take it again"
    OUT_OF_FOCUS = "the photograph is out of focus; take it again"
    FIELD_MISSING = "most of the circular field of view is missing; centre the eye and take it again"
    NOT_FUNDUS = "this does not look like a colour fundus photograph; check what was sent"

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Thresholds of the checks; what half of IDRiD, as it is and recast, comes to stands beside each."""

    min_lit_share: float = 0.10
    """Of the photograph's pixels that belong to the field of view."""
    min_brightness: float = 20.0
    """Mean of the field, 0 to 255, over the three channels. At 55 % of the exposure: at least 28."""
    min_reddish_share: float = 0.80
    """Of the field in which red leads, as it does on a retina. Under five colour casts: at least 0.96."""
    min_red_over_blue: float = 1.3
    """Mean red against mean blue. Grey-scale pictures have 1, recast photographs at least 2.1."""
    min_disc_share: float = 0.60
    """Of the disc over the field's bounding square that is lit: caps may be cut off."""
    min_round: float = 0.86
    """Of the disc inside the photograph that is lit. Half a photograph: at most 0.79; turned by 30 degrees: at least 0.93."""
    min_dark_corners: int = 3
    """Of a photograph's four: a disc in a rectangle leaves them dark. Without them, colour and texture must be surer:"""
    cornerless_reddish_share: float = 0.97
    cornerless_red_over_blue: float = 2.0
    """Skin, fur and wood stay below, recast photographs above."""
    cornerless_red_over_green: float = 1.35
    cornerless_max_texture: float = 0.07
    """Deviation of the finest octave against the mean green: a retina is smoother than most warm-coloured things."""
    min_sharpness: float = 0.00075
    """See `Measures.sharpness`."""
    min_detail: float = 0.010
    """Deviation of the second octave against the mean green: less is a plain disc."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What the checks look at."""

    lit_share: float
    brightness: float = 0.0
    reddish_share: float = 0.0
    red_over_blue: float = 0.0
    red_over_green: float = 0.0
    disc_share: float = 0.0
    round: float = 0.0
    dark_corners: int = 0
    texture: float = 0.0
    """Deviation of green's finest octave over green's mean, away from the field's edge; the greater of both directions."""
    detail: float = 0.0
    """The same of the second octave; the lesser of both directions."""
    sharpness: float = 0.0
    """The finest octave times the square of its ratio to the third, in the worse direction: contrast, and how little of it is
    lost towards fine detail. Blur takes both; neither alone tells a hazy sharp photograph from a blurred one of high contrast.
    """


@dataclass(frozen=True, slots=True)
class _Field:
    """The disc over the field of view, in pixels; may reach outside the photograph."""

    x: float
    y: float
    radius: float

    def inside(self, shape: tuple[int, ...], share: float = 1.0) -> Bool:
        """Which pixels are in the disc, its radius taken by `share`."""
        y = np.arange(shape[0])[:, None] + 0.5 - self.y
        x = np.arange(shape[1])[None, :] + 0.5 - self.x
        inside_HW: Bool = x * x + y * y <= (share * self.radius) ** 2
        return inside_HW


def measure(picture: Image.Image) -> Measures:
    """Measure an RGB photograph; anything that can't be measured is 0."""
    corners, found = _find(picture)
    copy, field = _copy(picture, found)
    red_HW, green_HW, blue_HW = (np.asarray(channel) for channel in copy.split())
    lit_HW = _lit(red_HW, green_HW, blue_HW)
    lit = int(lit_HW.sum())
    lit_share = lit * (found.radius / field.radius) ** 2 / (picture.width * picture.height)
    if lit < 64:
        return Measures(lit_share=lit_share)
    red, green, blue = (float(channel.sum(where=lit_HW, dtype=np.int64)) / lit for channel in (red_HW, green_HW, blue_HW))
    reddish_HW = (red_HW >= green_HW) & (red_HW >= blue_HW) & lit_HW
    disc_HW = field.inside(lit_HW.shape)
    lit_in_disc = int((lit_HW & disc_HW).sum())
    # A band along the edge of the field is left out: the edge itself is the sharpest thing there is.
    inner_HW = _eroded(lit_HW & field.inside(lit_HW.shape, 0.92), 6)
    across, along = _octaves(green_HW.astype(np.float32) / np.float32(max(green, 1.0)), inner_HW)
    return Measures(
        lit_share=lit_share,
        brightness=(red + green + blue) / 3,
        reddish_share=int(reddish_HW.sum()) / lit,
        red_over_blue=red / max(blue, 1.0),
        red_over_green=red / max(green, 1.0),
        disc_share=lit_in_disc / (math.pi * field.radius**2),
        round=lit_in_disc / max(int(disc_HW.sum()), 1),
        dark_corners=corners,
        texture=max(across[0], along[0]),
        detail=min(across[1], along[1]),
        sharpness=min(_sharpness(across), _sharpness(along)),
    )


def _lit(red_HW: UInt8, green_HW: UInt8, blue_HW: UInt8) -> Bool:
    """What belongs to the field of view: clearly brighter than the photograph's own black."""
    brightest_HW = np.maximum(np.maximum(red_HW, green_HW), blue_HW)
    threshold = max(_BLACK, _BLACK_SHARE * float(np.percentile(brightest_HW, 90)))
    lit_HW: Bool = brightest_HW > threshold
    return lit_HW


def _find(picture: Image.Image) -> tuple[int, _Field]:
    """How many corners of the photograph are dark, and its field of view."""
    scale = max(picture.size) / _PROBE_PX
    size = max(4, round(picture.width / scale)), max(4, round(picture.height / scale))
    probe = picture.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
    lit_HW = _lit(*(np.asarray(channel) for channel in probe.split()))
    height, width = lit_HW.shape
    patch = max(1, min(height, width) // 32)
    ends = slice(patch), slice(-patch, None)
    corners = sum(bool(lit_HW[y, x].mean() < 0.5) for y in ends for x in ends)
    # A stamped date or name must not widen the field: its rows and columns are lit far less than the disc's.
    columns, rows = (np.flatnonzero(counts > 0.15 * counts.max()) for counts in (lit_HW.sum(axis=0), lit_HW.sum(axis=1)))
    if columns.size < 4 or rows.size < 4:
        columns, rows = np.arange(width), np.arange(height)
    x, y = picture.width / width, picture.height / height
    left, right, top, bottom = columns[0] * x, (columns[-1] + 1) * x, rows[0] * y, (rows[-1] + 1) * y
    return corners, _Field((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2)


def _copy(picture: Image.Image, field: _Field) -> tuple[Image.Image, _Field]:
    """The square around the field as far as the photograph reaches, at most `_FIELD_PX` wide, and where the field is in it."""
    left, top = max(field.x - field.radius, 0.0), max(field.y - field.radius, 0.0)
    right = min(field.x + field.radius, float(picture.width))
    bottom = min(field.y + field.radius, float(picture.height))
    scale = min(1.0, _FIELD_PX / (2 * field.radius))
    size = max(8, round((right - left) * scale)), max(8, round((bottom - top) * scale))
    # The gap lets whole pixels be averaged first, which takes a third of the time.
    copy = picture.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom), reducing_gap=1.1)
    return copy, _Field((field.x - left) * scale, (field.y - top) * scale, field.radius * scale)


_Octaves = tuple[float, float, float]
"""Deviations of the second difference in the copy, in its half and in its quarter."""


def _octaves(plane_HW: Float32, inner_HW: Bool) -> tuple[_Octaves, _Octaves]:
    """Across and along the rows, so that motion in one direction shows; 0 where too little is left to tell."""
    across: list[float] = []
    along: list[float] = []
    weight_HW = inner_HW.astype(np.float32)
    for _ in range(3):
        inside_HW = weight_HW[1:-1, 1:-1] > 0.99
        middle_HW = plane_HW[1:-1, 1:-1]
        enough = inside_HW.sum() >= 32
        for deviations, before_HW, after_HW in (
            (across, plane_HW[1:-1, :-2], plane_HW[1:-1, 2:]),
            (along, plane_HW[:-2, 1:-1], plane_HW[2:, 1:-1]),
        ):
            bend = (middle_HW - (before_HW + after_HW) * np.float32(0.5))[inside_HW]
            deviations.append(float(bend.std()) if enough else 0.0)
        plane_HW, weight_HW = _halved(plane_HW), _halved(weight_HW)
    return (across[0], across[1], across[2]), (along[0], along[1], along[2])


def _sharpness(octaves: _Octaves) -> float:
    return octaves[0] * (octaves[0] / octaves[2]) ** 2 if octaves[2] > 0 else 0.0


def _halved(plane_HW: Float32) -> Float32:
    height, width = plane_HW.shape[0] // 2 * 2, plane_HW.shape[1] // 2 * 2
    even = plane_HW[:height, :width]
    half_HW: Float32 = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)
    return half_HW


def _eroded(mask_HW: Bool, by: int) -> Bool:
    """The mask without a border of `by` pixels, photograph's edge included."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, by)
    kept = mask_HW.copy()
    for dy, dx in ((-by, 0), (by, 0), (0, -by), (0, by)):
        kept &= padded[by + dy : by + dy + height, by + dx : by + dx + width]
    return kept


def verdict(measures: Measures, limits: QualityLimits | None = None) -> Quality:
    """The first check that fails, in the order in which a photographer would look."""
    limits = QualityLimits() if limits is None else limits
    if measures.lit_share < limits.min_lit_share or measures.brightness < limits.min_brightness:
        return Quality.TOO_DARK
    if measures.reddish_share < limits.min_reddish_share or measures.red_over_blue < limits.min_red_over_blue:
        return Quality.NOT_FUNDUS
    if measures.dark_corners < limits.min_dark_corners and (
        measures.reddish_share < limits.cornerless_reddish_share
        or measures.red_over_blue < limits.cornerless_red_over_blue
        or measures.red_over_green < limits.cornerless_red_over_green
        or measures.texture > limits.cornerless_max_texture
    ):
        return Quality.NOT_FUNDUS
    if measures.disc_share < limits.min_disc_share or measures.round < limits.min_round:
        return Quality.FIELD_MISSING
    if measures.sharpness < limits.min_sharpness or measures.detail < limits.min_detail:
        return Quality.OUT_OF_FOCUS
    return Quality.GRADABLE


def assess(picture: Image.Image) -> Quality:
    """The verdict on a decoded RGB photograph."""
    return verdict(measure(picture))
