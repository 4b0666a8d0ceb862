"""How retinal vessels run: out of the disc, round the macula in arcades, branching and tapering. Geometry alone, no pixels.

A vessel is a walk whose heading leans towards a field of directions: ellipses round the fovea for the temporal vessels, rays
from the disc for the nasal ones, each vessel at an angle of its own to that field. Places are in radii of the field of view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal_train.data.synthetic.canvas import Point

_STEP = 0.031
"""Length of a vessel's pieces."""
_EDGE = 1.06
"""Vessels end past the field's edge."""
_FOVEAL_ZONE = 0.10
"""No vessel comes nearer to the fovea."""
_AXES = (0.80, 0.56)
"""Half-axes of the ellipses that the arcades follow."""
_THINNEST = 0.0032
_MAX_ORDER = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Vessel:
    """One unbranched piece of a vessel."""

    points: tuple[Point, ...]
    widths: tuple[float, ...]
    artery: bool
    order: int
    """0 for a trunk, 1 for its branches, and so on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Course:
    """What a walk needs to know."""

    up: float
    """-1 above the macula, 1 below."""
    outward: float
    """Angle (radians) to the direction field: positive leads away from the fovea."""
    nasal: bool
    artery: bool
    order: int
    length: float
    wander: float


class Vasculature:
    """Grows all vessels of a right eye."""

    def __init__(self, rng: np.random.Generator, disc: Point, fovea: Point, *, narrow_arteries: float) -> None:
        self._rng = rng
        self._disc = disc
        self._fovea = fovea
        self._narrow = narrow_arteries
        self._grown: list[Vessel] = []
        # One draw of many: a call a step would take longer than the drawing.
        self._turns = iter(rng.normal(0, 1, size=6000).tolist())

    def grow(self) -> list[Vessel]:
        """All vessels, veins first."""
        for artery in (False, True):
            for up in (-1.0, 1.0):
                self._trunk(up, artery)
                self._nasal(up, artery)
            for up in (-1.0, 1.0):
                self._macular(up, artery)
        return self._grown

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._rng.random())

    def _width(self, artery: bool) -> float:
        """Of a trunk: 150 micrometres for a vein, two thirds of it for an artery."""
        return (0.0175 * self._narrow if artery else 0.0245) * float(self._rng.normal(1, 0.07))

    def _trunk(self, up: float, artery: bool) -> None:
        dx, dy = self._disc
        start = (dx + self._uniform(-0.02, 0.02), dy + up * 0.015)
        heading = up * (math.pi / 2 + self._uniform(-0.25, 0.3))
        course = _Course(
            up=up,
            outward=self._uniform(0.0, 0.16) + (0.07 if artery else 0.0),
            nasal=False,
            artery=artery,
            order=0,
            length=2.0,
            wander=self._uniform(0.10, 0.17) * (0.8 if artery else 1.0),
        )
        self._walk(start, heading, self._width(artery), course)

    def _nasal(self, up: float, artery: bool) -> None:
        angle = up * (self._uniform(0.35, 1.0) + (0.12 if artery else 0.0))
        course = _Course(up=up, outward=0.0, nasal=True, artery=artery, order=0, length=0.75, wander=0.14)
        self._walk(self._disc, angle, 0.68 * self._width(artery), course)

    def _macular(self, up: float, artery: bool) -> None:
        """A thin vessel from the disc's temporal rim towards the macula."""
        course = _Course(
            up=up, outward=self._uniform(-0.75, -0.35), nasal=False, artery=artery, order=2,
            length=self._uniform(0.35, 0.6), wander=0.2,
        )  # fmt: skip
        angle = math.pi - up * self._uniform(0.3, 0.9)
        self._walk(self._disc, angle, 0.3 * self._width(artery), course)

    def _wanted(self, x: float, y: float, course: _Course) -> float:
        """Heading that the direction field asks for."""
        if course.nasal:
            return math.atan2(y - self._disc[1], x - self._disc[0]) + course.outward * course.up
        u, v = (x - self._fovea[0]) / _AXES[0], (y - self._fovea[1]) / _AXES[1]
        tangent = math.atan2(course.up * _AXES[1] * u, -course.up * _AXES[0] * v)
        # Past the fovea arcades fan out instead of meeting at the temporal raphe.
        fan = 0.75 * min(max(-u, 0.0), 1.0)
        return tangent + self._turn(course, course.outward + fan)

    @staticmethod
    def _turn(course: _Course, outward: float) -> float:
        """Rotation that leads away from the fovea: its sense differs above and below."""
        return -course.up * outward

    def _walk(self, start: Point, heading: float, width: float, course: _Course) -> None:
        steps = max(int(course.length / _STEP), 3)
        x, y = start
        points, widths = [start], [width]
        drift = 0.0
        lean = 0.22 if course.order == 0 else 0.12
        taper = 0.62 if course.order == 0 else 0.5
        pause = int(self._uniform(4, 9))
        side = 1.0 if self._rng.random() < 0.5 else -1.0
        for i in range(1, steps):
            share = i / steps
            away = self._wanted(x, y, course) - heading
            away = (away + math.pi) % math.tau - math.pi
            drift = 0.7 * drift + course.wander * next(self._turns)
            heading += lean * away + 0.5 * drift
            x, y = x + _STEP * math.cos(heading), y + _STEP * math.sin(heading)
            if math.hypot(x - self._fovea[0], y - self._fovea[1]) < _FOVEAL_ZONE or math.hypot(x, y) > _EDGE:
                break
            now = max(width * (1 - taper * share), _THINNEST)
            points.append((x, y))
            widths.append(now)
            pause -= 1
            if pause <= 0 and course.order < _MAX_ORDER and share < 0.9 and now > 1.45 * _THINNEST:
                pause = int(self._uniform(6, 11)) if course.order == 0 else int(self._uniform(5, 12))
                side = -side if self._rng.random() < 0.7 else side
                self._branch((x, y), heading, now, course, side, left=1 - share)
        if len(points) > 2:
            self._grown.append(Vessel(points=tuple(points), widths=tuple(widths), artery=course.artery, order=course.order))

    def _branch(self, place: Point, heading: float, width: float, course: _Course, side: float, *, left: float) -> None:
        """A daughter vessel; `side` 1 leads outward, -1 towards the macula."""
        angle = self._uniform(0.45, 0.85)
        length = course.length * left * self._uniform(0.45, 0.9) if course.order else self._uniform(0.35, 0.95)
        daughter = _Course(
            up=course.up,
            outward=course.outward + side * self._uniform(0.35, 0.85),
            nasal=course.nasal,
            artery=course.artery,
            order=course.order + 1,
            length=length,
            wander=self._uniform(0.16, 0.3),
        )
        turn = self._turn(course, side * angle) if not course.nasal else side * angle * course.up
        self._walk(place, heading + turn, width * self._uniform(0.42, 0.76), daughter)
