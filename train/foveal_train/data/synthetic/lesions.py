"""Single lesions and where they lie: drawn into masks, one mask a colour. Knows no grades, no diseases and no colours.

Sizes are in radii of the field of view and lie at the upper end of what occurs (a microaneurysm is drawn 4 to 6 pixels wide
in 512), so that a model at 224 pixels can see them.
"""

from __future__ import annotations

import math

import numpy as np

from foveal_train.data.synthetic.anatomy import Anatomy
from foveal_train.data.synthetic.canvas import Field, Mask, Point

_OUTLINE = tuple((math.cos(i * math.tau / 12), math.sin(i * math.tau / 12)) for i in range(12))
"""A circle in twelve points, to be made irregular."""


class Lesions:
    """The masks of one eye; those without a lesion stay unused and cost nothing when composing."""

    def __init__(self, field: Field) -> None:
        self.blood = Mask(field)
        """Microaneurysms and haemorrhages: dark red."""
        self.new_vessels = Mask(field)
        """Fine abnormal vessels."""
        self.exudate = Mask(field)
        """Hard exudates: yellow, sharp."""
        self.cotton = Mask(field)
        """Cotton-wool spots, fibrous tissue, myelinated fibres: white, fluffy."""
        self.drusen = Mask(field)
        """Pale yellow, soft, under the vessels."""
        self.pale = Mask(field)
        """Atrophy and scars through which the sclera shows."""
        self.burns = Mask(field)
        """Laser burns, over the vessels."""
        self.pigment = Mask(field)
        """Dark brown pigment: scar rims, naevi."""
        self.veil = Mask(field)
        """Grey swelling: oedema, detachment."""


class LesionArtist:
    """Draws single lesions into the masks of one eye."""

    def __init__(self, rng: np.random.Generator, anatomy: Anatomy, lesions: Lesions) -> None:
        self.rng = rng
        self.anatomy = anatomy
        self.lesions = lesions

    def aneurysm(self, centre: Point) -> None:
        """A microaneurysm."""
        radius = float(self.rng.uniform(0.0075, 0.012))
        self.lesions.blood.disc(centre, radius, radius, float(self.rng.uniform(0.75, 1.0)))

    def blot(self, centre: Point, size: float, level: float | None = None) -> None:
        self.lesions.blood.polygon(self.outline(centre, size, 0.42), level or float(self.rng.uniform(0.5, 0.95)))

    def flame(self, centre: Point) -> None:
        """A haemorrhage in the nerve-fibre layer: streaks that point away from the disc."""
        rng = self.rng
        dx, dy = self.anatomy.disc
        angle = math.atan2(centre[1] - dy, centre[0] - dx)
        for _ in range(4):
            offset = float(rng.normal(0, 0.008))
            x, y = centre[0] - math.sin(angle) * offset, centre[1] + math.cos(angle) * offset
            half = float(rng.uniform(0.018, 0.04))
            points = [(x + t * half * math.cos(angle), y + t * half * math.sin(angle)) for t in (-1, -0.3, 0.4, 1)]
            self.lesions.blood.line(points, [0.006, 0.013, 0.007, 0.004], float(rng.uniform(0.65, 0.95)))

    def exudates(self, centre: Point, count: int) -> None:
        """A cluster, half of them a ring round a leak."""
        rng = self.rng
        ring, spread = rng.random() < 0.5, float(rng.uniform(0.045, 0.1))
        for _ in range(count):
            angle = float(rng.uniform(0, 6.28))
            distance = spread * (float(rng.normal(1, 0.13)) if ring else abs(float(rng.normal(0, 0.7))))
            place = (centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle))
            size = float(rng.uniform(0.006, 0.017))
            self.lesions.exudate.polygon(self.outline(place, size, 0.3), float(rng.uniform(0.7, 1.0)))

    def cotton(self, centre: Point) -> None:
        rng = self.rng
        for _ in range(4):
            place = (centre[0] + float(rng.normal(0, 0.015)), centre[1] + float(rng.normal(0, 0.012)))
            self.lesions.cotton.polygon(
                self.outline(place, float(rng.uniform(0.018, 0.034)), 0.25), float(rng.uniform(0.5, 0.9))
            )

    def new_vessels(self, centre: Point, size: float, loops: int) -> None:
        """New vessels: fine loops that wind round a centre."""
        rng = self.rng
        for _ in range(loops):
            angle, turn = float(rng.uniform(0, 6.28)), float(rng.normal(0, 0.28))
            x, y = centre[0] + float(rng.normal(0, 0.2)) * size, centre[1] + float(rng.normal(0, 0.2)) * size
            points = [(x, y)]
            for _ in range(int(rng.integers(8, 18))):
                angle += turn + float(rng.normal(0, 0.38))
                x, y = x + 0.1 * size * math.cos(angle), y + 0.1 * size * math.sin(angle)
                points.append((x, y))
            self.lesions.new_vessels.line(points, [0.0055] * len(points), float(rng.uniform(0.6, 0.95)))

    def preretinal_blood(self) -> None:
        """Blood before the retina: level above, sagging below."""
        rng = self.rng
        x, y = self.place_by_arcade()
        width, depth = float(rng.uniform(0.09, 0.17)), float(rng.uniform(0.06, 0.11))
        below = [(x + width * math.cos(a), y + depth * math.sin(a)) for a in np.linspace(0, math.pi, 14)]
        self.lesions.blood.polygon([*below, (x - width, y - 0.012), (x + width, y - 0.008)], 1.0)

    def place_in_retina(self, nearest: float = 0.16, farthest: float = 0.86) -> Point:
        """A place in the field, off disc and fovea."""
        rng, anatomy = self.rng, self.anatomy
        while True:
            radius, angle = farthest * math.sqrt(float(rng.random())), float(rng.uniform(0, 6.28))
            place = (radius * math.cos(angle), radius * math.sin(angle))
            if math.dist(place, anatomy.disc) > 0.17 and nearest < math.dist(place, anatomy.fovea):
                return place

    def place_near_disc(self) -> Point:
        rng = self.rng
        angle, distance = float(rng.uniform(0, 6.28)), float(rng.uniform(0.2, 0.5))
        dx, dy = self.anatomy.disc
        place = (dx + distance * math.cos(angle), dy + distance * math.sin(angle))
        return place if math.hypot(*place) < 0.92 else (2 * dx - place[0], place[1])

    def place_by_arcade(self) -> Point:
        rng, (fx, fy) = self.rng, self.anatomy.fovea
        up = -1.0 if rng.random() < 0.5 else 1.0
        return fx + float(rng.uniform(-0.35, 0.4)), fy + up * float(rng.uniform(0.42, 0.62))

    def outline(self, centre: Point, size: float, roughness: float) -> list[Point]:
        """An irregular round outline."""
        rng = self.rng
        wave = rng.normal(0, roughness, size=len(_OUTLINE)).tolist()
        squash, turn = 0.7 + 0.3 * float(rng.random()), math.tau * float(rng.random())
        cos, sin = math.cos(turn), math.sin(turn)
        points = []
        for i, (x, y) in enumerate(_OUTLINE):
            # Neighbours are averaged: outlines of tissue have no spikes.
            radius = size * min(max(1 + (wave[i] + wave[i - 1]) / 2, 0.4), 1.8)
            along, across = radius * x, squash * radius * y
            points.append((centre[0] + along * cos - across * sin, centre[1] + along * sin + across * cos))
        return points
