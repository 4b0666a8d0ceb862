"""Focus and vessels in one plane of a photograph, as named numbers. Knows no colour and no field of view.

Focus shows in how contrast falls from octave to octave, in both directions, and in whether it sits in few places (vessels) or
everywhere (noise). Vessels are dark lines: darker than both sides in one direction, not across it.

Shapes: H, W pixels; weights are 1 where the plane counts, else 0.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from foveal_runtime.photo.imaging import Float32

Named = dict[str, float]
TINY = 1e-4
_OCTAVES = 4
_LEAST = 64
"""Pixels; fewer are no texture."""


def quantiles(values_N: Float32, *shares: float) -> list[float]:
    """Values below which those shares of the others lie."""
    ordered = np.sort(values_N)
    return [float(ordered[int(share * (ordered.size - 1))]) for share in shares]


def texture(green_HW: Float32, weight_hw: Float32) -> Named:
    """Focus and vessels of the green plane.

    Args:
        green_HW: green; it is overwritten.
        weight_hw: 1 where it counts, in a copy of any size. A border of it is 0.
    """
    weight_HW = _scaled(weight_hw, green_HW.shape)
    level = float(np.vdot(green_HW, weight_HW)) / max(float(weight_HW.sum()), 1.0)
    green_HW *= np.float32(1 / max(level, 1.0))
    twist = _twist(green_HW, weight_HW)
    ways: list[list[float]] = [[], [], [], []]
    peaks: list[float] = []
    lines: Named = {}
    for octave in range(_OCTAVES):
        if octave:
            green_HW = _halved(green_HW)
            weight_HW = _scaled(weight_hw, green_HW.shape)
        if octave == 1:
            lines = _lines(green_HW, weight_HW)
        found, peak = _bends(green_HW, weight_HW, step=3 if octave == 0 else 2, oblique=octave + 1 < _OCTAVES)
        peaks.append(peak)
        for way, deviation in zip(ways, found, strict=False):
            way.append(math.log(deviation + TINY))
    return _focus(ways, peaks, math.log(twist + TINY)) | lines


def _scaled(plane_HW: Float32, shape: tuple[int, ...]) -> Float32:
    """The plane at another size, by its nearest values."""
    scaled_HW: Float32 = plane_HW[_nearest(shape[0], plane_HW.shape[0])][:, _nearest(shape[1], plane_HW.shape[1])]
    return scaled_HW


@lru_cache(maxsize=256)
def _nearest(size: int, of: int) -> npt.NDArray[np.int64]:
    return np.arange(size) * of // size


def _bends(plane_HW: Float32, weight_HW: Float32, *, step: int, oblique: bool) -> tuple[list[float], float]:
    """Deviations of the second difference, in every so many rows: across, down and on both diagonals if need be; and how peaked
    the first two are."""
    weight = np.ascontiguousarray(weight_HW[1:-1:step, 1:-1])
    total = max(float(weight.sum()), 1.0)
    above, here, below = plane_HW[:-2:step], plane_HW[1:-1:step], plane_HW[2::step]
    twice = here[:, 1:-1] * np.float32(2)
    bend = np.empty_like(twice)
    deviations, peak = [], 0.0
    pairs = (
        (here[:, :-2], here[:, 2:]),
        (above[:, 1:-1], below[:, 1:-1]),
        (above[:, :-2], below[:, 2:]),
        (above[:, 2:], below[:, :-2]),
    )
    for i, (before, after) in enumerate(pairs if oblique else pairs[:2]):
        np.add(before, after, out=bend)
        np.subtract(twice, bend, out=bend)
        np.multiply(bend, weight, out=bend)
        variance = float(np.vdot(bend, bend)) / total
        deviations.append(math.sqrt(variance) / 2)
        if i < 2:
            np.multiply(bend, bend, out=bend)
            peak = max(peak, float(np.vdot(bend, bend)) / total / max(variance * variance, TINY**4))
    return deviations, peak


def _twist(plane_HW: Float32, weight_HW: Float32) -> float:
    """Deviation of the mixed difference: noise has as much of it as of any other, lines have less."""
    rows = plane_HW.shape[0] // 3 * 3
    slope = plane_HW[1:rows:3] - plane_HW[:rows:3]
    twist = slope[:, 1:] - slope[:, :-1]
    weight = weight_HW[1:rows:3, 1:]
    twist *= weight
    return math.sqrt(float(np.vdot(twist, twist)) / max(float(weight.sum()), 1.0))


def _focus(ways: list[list[float]], peaks: list[float], twist: float) -> Named:
    """From logarithmic deviations by direction and octave: the worse direction's, how they fall, how much directions differ."""
    straight, oblique = ways[:2], ways[2:]
    worse = [min(pair) for pair in zip(*straight, strict=True)]

    def falls(pair: list[list[float]], fine: int, coarse: int) -> float:
        return min(way[fine] - way[coarse] for way in pair)

    return {
        **{f"octave_{i}": value for i, value in enumerate(worse)},
        "falls_01": falls(straight, 0, 1),
        "falls_12": falls(straight, 1, 2),
        "falls_02": falls(straight, 0, 2),
        "oblique_falls_01": falls(oblique, 0, 1),
        "oblique_falls_12": falls(oblique, 1, 2),
        **{f"one_way_{i}": abs(straight[0][i] - straight[1][i]) for i in range(3)},
        **{f"oblique_way_{i}": abs(oblique[0][i] - oblique[1][i]) for i in range(3)},
        "peaks_0": math.log(peaks[0] + 1),
        "peaks_1": math.log(peaks[1] + 1),
        "peaks_2": math.log(peaks[2] + 1),
        "twist": twist - worse[0],
    }


def _lines(green_HW: Float32, weight_HW: Float32) -> Named:
    """Dark and bright lines three pixels away from their sides, in four directions, in every third row."""
    rows, columns = green_HW.shape
    if rows < 16 or columns < 16:
        return {}
    middle = green_HW[3:-3:3, 3:-3]

    def bend(dy: int, dx: int) -> Float32:
        def shifted(y: int, x: int) -> Float32:
            return green_HW[3 + y : rows - 3 + y : 3, 3 + x : columns - 3 + x]

        both = shifted(dy, dx) + shifted(-dy, -dx)
        both *= np.float32(0.5)
        both -= middle
        return both

    level, steep, rising, sinking = bend(0, 3), bend(3, 0), bend(2, -2), bend(2, 2)
    inside = weight_HW[3:-3:3, 3:-3] > 0
    if int(inside.sum()) < _LEAST:
        return {}
    most = np.maximum(np.maximum(level, steep), np.maximum(rising, sinking))[inside]
    least = np.minimum(np.minimum(level, steep), np.minimum(rising, sinking))[inside]
    dark_p50, dark_p90, dark_p99 = quantiles(most, 0.5, 0.9, 0.99)
    bright_p99 = -quantiles(least, 0.01)[0]
    differences = sum(float(np.vdot(d, d)) for d in ((level - steep) * inside, (rising - sinking) * inside))
    sums = sum(float(np.vdot(s, s)) for s in ((level + steep) * inside, (rising + sinking) * inside))

    def log(value: float) -> float:
        return math.log(max(value, 0.0) + TINY)

    return {
        "dark_p50": log(dark_p50),
        "dark_p90": log(dark_p90),
        "dark_p99": log(dark_p99),
        "bright_p99": log(bright_p99),
        "dark_over_bright": log(dark_p99) - log(bright_p99),
        "line_over_spot": 0.5 * (log(differences) - log(sums)),
        "dark_share": float((most > 0.04).mean()),
    }


def _halved(plane_HW: Float32) -> Float32:
    height, width = plane_HW.shape[0] // 2 * 2, plane_HW.shape[1] // 2 * 2
    even = plane_HW[:height, :width]
    half_HW: Float32 = even[::2, ::2] + even[1::2, ::2]
    half_HW += even[::2, 1::2]
    half_HW += even[1::2, 1::2]
    half_HW *= np.float32(0.25)
    return half_HW
