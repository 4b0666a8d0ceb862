"""The healthy eye: where disc and fovea lie, and how its vessels branch. Geometry alone, no pixels.

Places are in radii of the field of view, drawn for the right eye (disc to the right of the fovea); a left eye is mirrored.
Distances follow a 45-degree macula-centred photograph: the disc is 0.12 in radius and about 0.68 from the fovea.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foveal_runtime.study import Eye
from foveal_train.data.synthetic.canvas import Point

_STEP = 0.022
"""Length of a vessel's pieces."""
_EDGE = 1.05
"""Vessels end past the field's edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vessel:
    """One unbranched piece of a vessel."""

    points: tuple[Point, ...]
    widths: tuple[float, ...]
    artery: bool
    order: int
    """0 for a trunk, 1 for its branches, and so on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """Landmarks and vessels of one eye, already mirrored for the left."""

    eye: Eye
    disc: Point
    disc_radius: Point
    """Half-axes x, y."""
    cup_ratio: float
    fovea: Point
    vessels: tuple[Vessel, ...]

    @property
    def temporal(self) -> float:
        """Sign of x towards the temple, seen from the fovea."""
        return -1.0 if self.eye is Eye.RIGHT else 1.0


def draw_anatomy(rng: np.random.Generator, eye: Eye, *, cupped: bool, narrow_arteries: float, tilt: float = 0.0) -> Anatomy:
    """Place the landmarks and grow the vessels.

    Args:
        rng: of this eye.
        eye: left eyes are mirrored.
        cupped: a cup-to-disc ratio of 0.62 and more.
        narrow_arteries: factor on arterial widths, below 1 in hypertension.
        tilt: how much narrower than high the disc is (myopia).
    """
    fovea = (float(rng.normal(-0.03, 0.03)), float(rng.normal(0.0, 0.035)))
    distance = float(rng.normal(0.68, 0.025))
    disc = (fovea[0] + distance, fovea[1] - float(rng.normal(0.075, 0.03)))
    height = float(rng.normal(0.122, 0.007))
    radius = (height * float(rng.normal(0.9, 0.03)) * (1 - tilt), height)
    cup = float(rng.uniform(0.64, 0.85) if cupped else np.clip(rng.normal(0.34, 0.08), 0.12, 0.5))
    vessels = _Grower(rng, disc, fovea, narrow_arteries).grow()
    if eye is Eye.LEFT:
        disc, fovea = (-disc[0], disc[1]), (-fovea[0], fovea[1])
        vessels = [
            Vessel(points=tuple((-x, y) for x, y in v.points), widths=v.widths, artery=v.artery, order=v.order) for v in vessels
        ]
    return Anatomy(eye=eye, disc=disc, disc_radius=radius, cup_ratio=cup, fovea=fovea, vessels=tuple(vessels))


class _Grower:
    """Grows trunks from the disc along the arcades and nasally, then branches, to the third order."""

    def __init__(self, rng: np.random.Generator, disc: Point, fovea: Point, narrow_arteries: float) -> None:
        self._rng = rng
        self._disc = disc
        self._fovea = fovea
        self._narrow = narrow_arteries
        self._grown: list[Vessel] = []

    def grow(self) -> list[Vessel]:
        # Veins first, arteries over them, as they mostly cross.
        for artery in (False, True):
            for up in (-1.0, 1.0):
                self._arcade(up, artery)
                self._nasal(up, artery)
            self._macular(artery)
        return self._grown

    def _width(self, artery: bool) -> float:
        return 0.0185 * self._narrow * float(self._rng.normal(1, 0.06)) if artery else 0.0255 * float(self._rng.normal(1, 0.06))

    def _arcade(self, up: float, artery: bool) -> None:
        """A temporal trunk: out of the disc, over the macula, down towards the temple."""
        rng, (dx, dy), (fx, fy) = self._rng, self._disc, self._fovea
        reach = 0.52 + float(rng.normal(0, 0.035)) + (0.05 if artery else 0.0)
        start = (dx + float(rng.normal(0, 0.015)), dy + up * 0.02)
        p1 = (dx - 0.02 + float(rng.normal(0, 0.03)), dy + up * (0.34 + float(rng.normal(0, 0.03))))
        p2 = (fx + 0.32 + float(rng.normal(0, 0.05)), fy + up * (reach + 0.12))
        p3 = (fx - 0.25, fy + up * (reach + 0.05))
        p4 = (fx - 0.95, fy + up * (0.28 + float(rng.normal(0, 0.12))))
        self._follow(_bezier((start, p1, p2, p3, p4), 80), self._width(artery), artery)

    def _nasal(self, up: float, artery: bool) -> None:
        """A nasal trunk, radial from the disc."""
        rng, (dx, dy) = self._rng, self._disc
        angle = up * float(rng.uniform(0.5, 1.0)) + (0.12 if artery else 0.0) * up
        length = 0.75
        middle = (dx + 0.08, dy + up * 0.16)
        end = (dx + length * math.cos(angle), dy + length * math.sin(angle))
        self._follow(
            _bezier(((dx, dy), middle, ((middle[0] + end[0]) / 2, (middle[1] + end[1]) / 2), end), 40),
            0.72 * self._width(artery),
            artery,
        )

    def _macular(self, artery: bool) -> None:
        """Thin vessels that leave the disc temporally towards the macula."""
        for up in (-1.0, 1.0):
            angle = math.pi + up * float(self._rng.uniform(0.25, 0.6)) * -1.0
            self._walk(self._disc, angle, 0.36 * self._width(artery), float(self._rng.uniform(0.3, 0.42)), artery, 2, 0.3 * up)

    def _follow(self, path: list[Point], width: float, artery: bool) -> None:
        """Draw a trunk along `path` with a wavering offset, branching on both sides."""
        rng = self._rng
        phase, waves = float(rng.uniform(0, 6.28)), float(rng.uniform(2.0, 3.5))
        sway = float(rng.uniform(0.008, 0.016)) * (0.8 if artery else 1.0)
        points, widths = [], []
        branch_in = int(rng.integers(9, 14))
        for i, (x, y) in enumerate(path):
            share = i / (len(path) - 1)
            x2, y2 = path[min(i + 1, len(path) - 1)]
            x1, y1 = path[max(i - 1, 0)]
            length = math.hypot(x2 - x1, y2 - y1) or 1.0
            offset = sway * math.sin(phase + waves * 6.28 * share) * min(1.0, 6 * share)
            x, y = x - (y2 - y1) / length * offset, y + (x2 - x1) / length * offset
            taper = width * (1 - 0.62 * share)
            points.append((x, y))
            widths.append(taper)
            branch_in -= 1
            if branch_in <= 0 and share < 0.93 and math.hypot(x, y) < _EDGE:
                branch_in = int(rng.integers(5, 11))
                heading = math.atan2(y2 - y1, x2 - x1)
                side = 1.0 if rng.random() < 0.5 else -1.0
                angle = heading + side * float(rng.uniform(0.5, 1.0))
                self._walk(
                    (x, y), angle, taper * float(rng.uniform(0.5, 0.72)), float(rng.uniform(0.25, 0.62)), artery, 1, -0.5 * side
                )
        self._grown.append(Vessel(points=tuple(points), widths=tuple(widths), artery=artery, order=0))

    def _walk(self, start: Point, angle: float, width: float, length: float, artery: bool, order: int, bend: float) -> None:
        """A branch: a walk whose heading drifts, kept out of the foveal zone, which has no vessels."""
        rng = self._rng
        steps = max(int(length / _STEP), 3)
        turns = rng.normal(0, 0.11, size=steps)
        points, widths = [start], [width]
        x, y = start
        drift = 0.0
        branch_in = int(rng.integers(4, 9))
        for i in range(steps):
            share = i / steps
            drift = 0.75 * drift + float(turns[i])
            angle += drift * 0.55 + bend * _STEP * 1.6
            x, y = x + _STEP * math.cos(angle), y + _STEP * math.sin(angle)
            if math.hypot(x - self._fovea[0], y - self._fovea[1]) < 0.13 or math.hypot(x, y) > _EDGE:
                break
            points.append((x, y))
            widths.append(width * (1 - 0.65 * share))
            branch_in -= 1
            if order < 3 and branch_in <= 0 and share < 0.8:
                branch_in = int(rng.integers(4, 9))
                side = 1.0 if rng.random() < 0.5 else -1.0
                self._walk(
                    (x, y),
                    angle + side * float(rng.uniform(0.45, 0.95)),
                    widths[-1] * float(rng.uniform(0.5, 0.75)),
                    length * (1 - share) * float(rng.uniform(0.5, 0.9)),
                    artery,
                    order + 1,
                    -0.4 * side,
                )
        if len(points) > 2:
            self._grown.append(Vessel(points=tuple(points), widths=tuple(widths), artery=artery, order=order))


def _bezier(control: tuple[Point, ...], steps: int) -> list[Point]:
    """Points along the Bezier curve of any degree."""
    t = np.linspace(0, 1, steps)[:, None]
    points = [np.broadcast_to(np.asarray(p, dtype=np.float64), (steps, 2)) for p in control]
    while len(points) > 1:
        points = [(1 - t) * a + t * b for a, b in pairwise(points)]
    return [(float(x), float(y)) for x, y in points[0]]
