"""What a photograph looks like, as a vector of named numbers. Judges nothing: `quality` does.

The numbers follow the usual split of retinal image quality into illumination, focus, field definition and "is it a fundus at
all" (Fleming et al. 2006). Cameras differ in size, colour, black level and how much of the circle they keep, so colour, light
and geometry are taken from a copy whose field of view is `_COARSE_PX` wide, sharpness and vessels from green alone in one that
is `_FINE_PX` wide, and nearly everything is relative: to the photograph's own ground, brightness and contrast. Colour casts
cancel in the `absorbs_*` numbers: blood takes green's contrast and leaves red's, whatever the gains are.

Shapes: H, W pixels of a copy; N its pixels in the field of view; F the numbers, in the order of `NAMES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.photo.field import Field, Ground, Planes, find_field, planes_of
from foveal_runtime.photo.imaging import Bool, Float32, UInt8
from foveal_runtime.photo.texture import TINY, Named, quantiles, texture

_Any = TypeVar("_Any", bound=np.generic)

_COARSE_PX = 48
"""Diameter of the field of view in the copy for colour, light and geometry."""
_FINE_PX = 192
"""The same in the copy for sharpness and vessels. Smaller photographs are measured as they are."""
_SECTORS, _RINGS = 8, 4
_INNER = 0.86
"""Of the radius: focus is measured inside, for the edge of the field is the sharpest thing there is."""
_LEAST_LIT = 64
"""Pixels of the coarse copy; below them there is nothing to measure."""

NAMES = (
    # The field of view and the ground it lies on.
    "lit_share", "disc_lit", "disc_cover", "outside_lit", "worst_sector_lit", "off_centre", "aspect", "small_file",
    "ground_level", "ground_spread",
    # Light.
    "bright_p95", "bright_p50", "bright_p05", "green_p50", "clipped", "darkest_part", "brightest_part",
    "ring_0", "ring_1", "ring_3",
    # Colour: medians and spreads of logarithmic ratios, and how much of the small contrast each channel shares with green.
    "red_green", "blue_green", "red_green_spread", "blue_green_spread", "reddish", "colourful", "whitish",
    "red_with_green", "blue_with_green", "absorbs_red", "absorbs_blue",
    # Focus: deviations of second differences in copies an octave apart, on a logarithmic scale.
    "octave_0", "octave_1", "octave_2", "octave_3", "falls_01", "falls_12", "falls_02", "oblique_falls_01", "oblique_falls_12",
    "one_way_0", "one_way_1", "one_way_2", "oblique_way_0", "oblique_way_1", "oblique_way_2",
    "peaks_0", "peaks_1", "peaks_2", "twist",
    # Vessels: dark lines, of which bright lines and dark spots are no part.
    "dark_p50", "dark_p90", "dark_p99", "bright_p99", "dark_over_bright", "line_over_spot", "dark_share",
)  # fmt: skip
"""Of the numbers, in their order."""

_Parts = npt.NDArray[np.int64]


def measure(picture: Image.Image) -> Float32:
    """The numbers of an RGB photograph, `features_F`; zero where hardly anything is lit, but for that and the ground."""
    field = find_field(picture)
    left, top, right, bottom = field.box(picture)
    width, height = right - left, bottom - top
    nothing = {"lit_share": field.lit_share, "ground_level": float(field.ground.pale)}
    coarse, frame = _copy(field.probe, field.on(field.probe, picture), _COARSE_PX)
    planes = planes_of(coarse)
    lit_HW = field.ground.lit(planes)
    parts_HW = frame.of(_parts(frame.side_px))
    inside_HW = lit_HW & (parts_HW >= 0)
    if int(inside_HW.sum()) < _LEAST_LIT:
        return _vector(nothing)
    brightest_HW = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    red_N, green_N, blue_N = planes[:, inside_HW].astype(np.float32)
    core_HW = _eroded(inside_HW) * frame.of(_inner(frame.side_px))
    fine, frame = _copy(picture.getchannel("G"), field, _FINE_PX)
    return _vector(
        nothing
        | {
            "aspect": min(width, height) / max(width, height),
            "small_file": math.log2(min(1.0, 2 * field.radius / _FINE_PX)),
        }
        | _geometry(lit_HW, parts_HW)
        | _ground(brightest_HW, parts_HW >= 0, field.ground)
        | _light(red_N, green_N, brightest_HW[inside_HW].astype(np.float32), parts_HW[inside_HW])
        | _colour(red_N, green_N, blue_N)
        | _absorption(planes, core_HW)
        | texture(np.asarray(fine).astype(np.float32), core_HW)
    )


def _vector(found: Named) -> Float32:
    return np.array([found.get(name, 0.0) for name in NAMES], np.float32)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a copy lies in the square round the field: photographs may cut it."""

    side_px: int
    x: int
    y: int
    width: int
    height: int

    def of(self, square_SS: npt.NDArray[_Any]) -> npt.NDArray[_Any]:
        """The part of the whole square that the copy shows."""
        return square_SS[self.y : self.y + self.height, self.x : self.x + self.width]


def _copy(picture: Image.Image, field: Field, side_px: int) -> tuple[Image.Image, _Frame]:
    """The square round the field as far as the photograph reaches, at most `side_px` wide."""
    left, top, right, bottom = field.box(picture)
    scale = min(1.0, side_px / (2 * field.radius))
    side = max(8, round(2 * field.radius * scale))
    x, y = round((left - field.x + field.radius) * scale), round((top - field.y + field.radius) * scale)
    x, y = min(x, side - 4), min(y, side - 4)
    width = min(max(4, round((right - left) * scale)), side - x)
    height = min(max(4, round((bottom - top) * scale)), side - y)
    # The gap lets whole pixels be averaged first, which takes half of the time.
    copy = picture.resize((width, height), Image.Resampling.BOX, box=(left, top, right, bottom), reducing_gap=1.0)
    return copy, _Frame(side, x, y, width, height)


@lru_cache(maxsize=64)
def _parts(side_px: int) -> _Parts:
    """Which part of a disc of that diameter a pixel lies in: sector * rings + ring, from the middle; -1 outside."""
    y, x = np.mgrid[:side_px, :side_px] + 0.5 - side_px / 2
    far = np.sqrt(x * x + y * y) / (side_px / 2)
    ring = np.minimum((far * far * _RINGS).astype(np.int64), _RINGS - 1)  # of equal area
    sector = ((np.arctan2(y, x) / np.pi + 1) * (_SECTORS / 2)).astype(np.int64) % _SECTORS
    return np.where(far <= 1, sector * _RINGS + ring, -1)


@lru_cache(maxsize=64)
def _inner(side_px: int) -> Float32:
    """1 well inside a disc of that diameter, else 0."""
    y, x = np.mgrid[:side_px, :side_px] + 0.5 - side_px / 2
    inner_SS: Float32 = (x * x + y * y <= (_INNER * side_px / 2) ** 2).astype(np.float32)
    return inner_SS


def _sums(parts_N: _Parts, values_N: Float32 | None = None) -> npt.NDArray[np.float64]:
    """Of each sector and ring, the sum of the values, or how many there are."""
    return np.bincount(parts_N, values_N, _SECTORS * _RINGS).reshape(_SECTORS, _RINGS).astype(np.float64)


def _geometry(lit_HW: Bool, parts_HW: _Parts) -> Named:
    disc_HW = parts_HW >= 0
    inside_HW = lit_HW & disc_HW
    lit, disc = int(inside_HW.sum()), int(disc_HW.sum())
    there_S = _sums(parts_HW[disc_HW]).sum(axis=1)
    lit_S = _sums(parts_HW[inside_HW]).sum(axis=1)
    # A sector that the photograph hardly reaches says nothing.
    reached = there_S > 0.25 * there_S.max()
    height, width = lit_HW.shape
    down, across = inside_HW.sum(axis=1, dtype=np.float32), inside_HW.sum(axis=0, dtype=np.float32)
    offset = [
        float(counts @ np.arange(counts.size, dtype=np.float32)) / lit - (counts.size - 1) / 2 for counts in (down, across)
    ]
    side = max(height, width)
    return {
        "disc_lit": lit / disc,
        "disc_cover": lit / (math.pi * (side / 2) ** 2),
        "outside_lit": (int(lit_HW.sum()) - lit) / max(lit_HW.size - disc, 1),
        "worst_sector_lit": float((lit_S[reached] / there_S[reached]).min()),
        "off_centre": math.hypot(*offset) / (side / 2),
    }


def _ground(brightest_HW: UInt8, disc_HW: Bool, ground: Ground) -> Named:
    """How light and how uneven it is round the disc, in the brightest channel; paper counts as black."""
    around_N = brightest_HW[~disc_HW].astype(np.float32)
    if not around_N.size:
        return {"ground_level": 0.0}
    mean = float(around_N.mean())
    level = max(ground.level - mean, 0.0) if ground.pale else mean
    return {"ground_level": level / 255, "ground_spread": float(around_N.std()) / 255}


def _light(red_N: Float32, green_N: Float32, brightest_N: Float32, parts_N: _Parts) -> Named:
    p05, p50, p95 = quantiles(brightest_N, 0.05, 0.5, 0.95)
    counts = _sums(parts_N)
    sums = _sums(parts_N, green_N + red_N)
    middle = max(float(sums.sum() / counts.sum()), 1.0)
    enough = counts > 0.25 * counts.max()
    means = sums[enough] / counts[enough] / middle
    rings = sums.sum(axis=0) / np.maximum(counts.sum(axis=0), 1) / middle
    return {
        "bright_p95": p95 / 255,
        "bright_p50": p50 / 255,
        "bright_p05": p05 / max(p50, 1.0),
        "green_p50": quantiles(green_N, 0.5)[0] / 255,
        "clipped": float((green_N > 249).mean()),
        "darkest_part": float(means.min()),
        "brightest_part": float(means.max()),
        "ring_0": float(rings[0]),
        "ring_1": float(rings[1]),
        "ring_3": float(rings[3]),
    }


def _colour(red_N: Float32, green_N: Float32, blue_N: Float32) -> Named:
    by_green = 1 / (green_N + 4)
    red_green, blue_green = np.log((red_N + 4) * by_green), np.log((blue_N + 4) * by_green)
    low_r, middle_r, high_r = quantiles(red_green, 0.1, 0.5, 0.9)
    low_b, middle_b, high_b = quantiles(blue_green, 0.1, 0.5, 0.9)
    brightest, darkest = np.maximum(np.maximum(red_N, green_N), blue_N), np.minimum(np.minimum(red_N, green_N), blue_N)
    saturation = (brightest - darkest) / np.maximum(brightest, 1)
    return {
        "red_green": middle_r,
        "blue_green": middle_b,
        "red_green_spread": high_r - low_r,
        "blue_green_spread": high_b - low_b,
        "reddish": float(((red_N >= green_N) & (red_N >= blue_N)).mean()),
        "colourful": float(saturation.mean()),
        "whitish": float(((saturation < 0.2) & (brightest > 120)).mean()),
    }


def _absorption(planes: Planes, core_HW: Float32) -> Named:
    """How red's and blue's small contrast goes with green's: correlation, and slope of relative contrasts."""
    weight_HW = core_HW[2:-2, 2:-2]
    p = planes.astype(np.float32)
    detail = p[:, :-4, 2:-2] + p[:, 4:, 2:-2]
    detail += p[:, 2:-2, :-4]
    detail += p[:, 2:-2, 4:]
    detail *= np.float32(-0.25)
    detail += p[:, 2:-2, 2:-2]
    detail *= weight_HW
    detail_3N, levels = detail.reshape(3, -1), p.reshape(3, -1) @ core_HW.ravel() / max(float(core_HW.sum()), 1.0)
    products = detail_3N @ detail_3N.T / np.outer(np.maximum(levels, 1), np.maximum(levels, 1)) + TINY
    (rr, rg, _), (_, gg, bg), (_, _, bb) = products.tolist()
    return {
        "red_with_green": rg / math.sqrt(rr * gg),
        "blue_with_green": bg / math.sqrt(bb * gg),
        "absorbs_red": min(rg / gg, 3.0),
        "absorbs_blue": min(bg / gg, 3.0),
    }


def _eroded(mask_HW: Bool) -> Float32:
    """The mask without a border of a pixel, the photograph's edge included."""
    kept = np.zeros(mask_HW.shape, np.float32)
    middle = mask_HW[1:-1, 1:-1] & mask_HW[:-2, 1:-1] & mask_HW[2:, 1:-1] & mask_HW[1:-1, :-2] & mask_HW[1:-1, 2:]
    kept[1:-1, 1:-1] = middle
    return kept
