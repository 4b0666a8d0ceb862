"""What disease adds to an eye: lesions by ICDR grade and by flag, drawn into masks. Knows no colours.

Sizes are in radii of the field of view and lie at the upper end of what occurs (a microaneurysm is drawn 2 to 3 pixels wide
in 512), so that a model at 224 pixels can see them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np

from foveal_train.data.notes import Finding
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
    """Draws the lesions of one eye."""

    def __init__(self, rng: np.random.Generator, anatomy: Anatomy, lesions: Lesions) -> None:
        self._rng = rng
        self._anatomy = anatomy
        self._lesions = lesions

    def draw(self, icdr: int, severity: float, findings: Collection[Finding], *, laser: bool) -> None:
        """Draw retinopathy of this grade and every flagged finding."""
        edema = Finding.MACULAR_EDEMA in findings
        self._retinopathy(icdr, severity, edema=edema, laser=laser)
        if edema:
            self._edema(hard=icdr > 0)
        drawers: dict[Finding, Callable[[], None]] = {
            Finding.SCAR: self._scar,
            Finding.NEVUS: self._nevus,
            Finding.AMD: self._amd,
            Finding.VASCULAR_OCCLUSION: self._occlusion,
            Finding.HYPERTENSIVE_RETINOPATHY: self._hypertension,
            Finding.DRUSEN: self._drusen,
            Finding.HEMORRHAGE: self._preretinal,
            Finding.RETINAL_DETACHMENT: self._detachment,
            Finding.MYOPIC_FUNDUS: self._myopia,
            Finding.OTHER: self._myelinated,
        }
        for finding, drawer in drawers.items():
            if finding in findings:
                drawer()

    # Retinopathy

    def _retinopathy(self, icdr: int, severity: float, *, edema: bool, laser: bool) -> None:
        rng = self._rng
        if icdr == 0:
            return
        aneurysms = {1: 3 + 9 * severity, 2: 10 + 16 * severity, 3: 26 + 18 * severity, 4: 14 + 14 * severity}[icdr]
        for _ in range(round(aneurysms)):
            radius = float(rng.uniform(0.0075, 0.012))
            self._lesions.blood.disc(self._retina(), radius, radius, float(rng.uniform(0.75, 1.0)))
        if icdr == 1:
            return
        blots = {2: 3 + 9 * severity, 3: 22 + 22 * severity, 4: 8 + 10 * severity}[icdr]
        for _ in range(round(blots)):
            self._blot(self._retina(), float(rng.gamma(5.0, 0.0042)))
        for _ in range(round({2: 1 + 2 * severity, 3: 6 + 6 * severity, 4: 3.0}[icdr])):
            self._flame(self._retina())
        if edema or rng.random() < {2: 0.55, 3: 0.7, 4: 0.5}[icdr]:
            for _ in range(1 + int(rng.integers(0, 2 + icdr // 3))):
                self._exudates(self._retina(0.18, 0.6), int(rng.integers(8, 26)))
        for _ in range(int(rng.poisson({2: 0.5, 3: 3.5, 4: 1.5}[icdr]))):
            self._cotton(self._near_disc())
        if icdr == 3:
            for _ in range(3):
                self._tangle(self._retina(0.35, 0.8), 0.05, 5)
        if icdr == 4:
            self._proliferation(laser=laser, severity=severity)

    def _proliferation(self, *, laser: bool, severity: float) -> None:
        rng = self._rng
        if laser:
            self._laser()
        if not laser or rng.random() < 0.35:
            at_disc = rng.random() < 0.55
            if at_disc:
                self._tangle(self._anatomy.disc, 0.19 + 0.1 * severity, 26)
            if not at_disc or rng.random() < 0.4:
                for _ in range(1 + int(rng.integers(0, 2))):
                    self._tangle(self._arcade_place(), 0.13 + 0.06 * severity, 20)
            if rng.random() < 0.2 + 0.5 * severity:
                self._preretinal()
            if rng.random() < 0.15 + 0.3 * severity:
                self._fibrosis()

    def _laser(self) -> None:
        """Panretinal photocoagulation: burns in rows outside the arcades, pale with a pigmented heart."""
        rng = self._rng
        fx, fy = self._anatomy.fovea
        dx, dy = self._anatomy.disc
        spacing = float(rng.uniform(0.075, 0.095))
        steps = np.arange(-1.0, 1.0, spacing)
        density = float(rng.uniform(0.7, 0.95))
        for row, y in enumerate(steps):
            for x in steps + (spacing / 2 if row % 2 else 0.0):
                px, py = (float(v) for v in rng.normal((x, y), 0.022))
                macula = math.hypot((px - fx) / 0.62, (py - fy) / 0.5)
                if math.hypot(px, py) > 1.0 or macula < 1 or math.hypot(px - dx, py - dy) < 0.24 or rng.random() > density:
                    continue
                size = float(rng.uniform(0.013, 0.03))
                self._lesions.burns.polygon(self._blob((px, py), size, 0.18), float(rng.uniform(0.3, 0.8)))
                if rng.random() < 0.5:
                    heart = (px + float(rng.normal(0, 0.004)), py + float(rng.normal(0, 0.004)))
                    self._lesions.pigment.polygon(self._blob(heart, 0.5 * size, 0.3), float(rng.uniform(0.2, 0.8)))

    def _tangle(self, centre: Point, size: float, loops: int) -> None:
        """New vessels: fine loops that wind round a centre."""
        rng = self._rng
        for _ in range(loops):
            angle, turn = float(rng.uniform(0, 6.28)), float(rng.normal(0, 0.28))
            x, y = centre[0] + float(rng.normal(0, 0.2)) * size, centre[1] + float(rng.normal(0, 0.2)) * size
            points = [(x, y)]
            for _ in range(int(rng.integers(8, 18))):
                angle += turn + float(rng.normal(0, 0.38))
                x, y = x + 0.1 * size * math.cos(angle), y + 0.1 * size * math.sin(angle)
                points.append((x, y))
            self._lesions.new_vessels.line(points, [0.0055] * len(points), float(rng.uniform(0.6, 0.95)))

    def _fibrosis(self) -> None:
        """White fibrous strands along an arcade."""
        rng = self._rng
        (dx, dy), up = self._anatomy.disc, -1.0 if rng.random() < 0.5 else 1.0
        for _ in range(5):
            x, y = dx, dy
            points = [(x, y)]
            angle = math.atan2(up, 0.9 * self._anatomy.temporal)
            for _ in range(14):
                angle += float(rng.normal(0, 0.12)) - 0.02 * up * self._anatomy.temporal
                x, y = x + 0.035 * math.cos(angle), y + 0.035 * math.sin(angle)
                points.append((x, y))
            widths = [0.035 * (1 - i / len(points)) + 0.008 for i in range(len(points))]
            self._lesions.cotton.line(points, widths, float(rng.uniform(0.35, 0.6)))

    # Single lesions

    def _blot(self, centre: Point, size: float, level: float | None = None) -> None:
        self._lesions.blood.polygon(self._blob(centre, size, 0.42), level or float(self._rng.uniform(0.5, 0.95)))

    def _flame(self, centre: Point) -> None:
        """A haemorrhage in the nerve-fibre layer: streaks that point away from the disc."""
        rng = self._rng
        dx, dy = self._anatomy.disc
        angle = math.atan2(centre[1] - dy, centre[0] - dx)
        for _ in range(4):
            offset = float(rng.normal(0, 0.008))
            x, y = centre[0] - math.sin(angle) * offset, centre[1] + math.cos(angle) * offset
            half = float(rng.uniform(0.018, 0.04))
            points = [(x + t * half * math.cos(angle), y + t * half * math.sin(angle)) for t in (-1, -0.3, 0.4, 1)]
            self._lesions.blood.line(points, [0.006, 0.013, 0.007, 0.004], float(rng.uniform(0.65, 0.95)))

    def _exudates(self, centre: Point, count: int) -> None:
        """A cluster, half of them a ring round a leak."""
        rng = self._rng
        ring, spread = rng.random() < 0.5, float(rng.uniform(0.045, 0.1))
        for _ in range(count):
            angle = float(rng.uniform(0, 6.28))
            distance = spread * (float(rng.normal(1, 0.13)) if ring else abs(float(rng.normal(0, 0.7))))
            place = (centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle))
            size = float(rng.uniform(0.006, 0.017))
            self._lesions.exudate.polygon(self._blob(place, size, 0.3), float(rng.uniform(0.7, 1.0)))

    def _cotton(self, centre: Point) -> None:
        rng = self._rng
        for _ in range(4):
            place = (centre[0] + float(rng.normal(0, 0.015)), centre[1] + float(rng.normal(0, 0.012)))
            self._lesions.cotton.polygon(
                self._blob(place, float(rng.uniform(0.018, 0.034)), 0.25), float(rng.uniform(0.5, 0.9))
            )

    def _edema(self, *, hard: bool) -> None:
        """Grey swelling of the macula; in diabetes with exudates near the fovea."""
        fovea = self._anatomy.fovea
        self._lesions.veil.polygon(self._blob(fovea, float(self._rng.uniform(0.15, 0.22)), 0.12), 0.75)
        if hard:
            for _ in range(2):
                angle = float(self._rng.uniform(0, 6.28))
                place = (fovea[0] + 0.12 * math.cos(angle), fovea[1] + 0.12 * math.sin(angle))
                self._exudates(place, int(self._rng.integers(8, 20)))

    def _preretinal(self) -> None:
        """Blood before the retina: level above, sagging below."""
        rng = self._rng
        x, y = self._arcade_place()
        width, depth = float(rng.uniform(0.09, 0.17)), float(rng.uniform(0.06, 0.11))
        below = [(x + width * math.cos(a), y + depth * math.sin(a)) for a in np.linspace(0, math.pi, 14)]
        self._lesions.blood.polygon([*below, (x - width, y - 0.012), (x + width, y - 0.008)], 1.0)

    # Other findings

    def _drusen(self) -> None:
        rng = self._rng
        fx, fy = self._anatomy.fovea
        for _ in range(int(rng.integers(22, 60))):
            place = (fx + float(rng.normal(0, 0.17)), fy + float(rng.normal(0, 0.15)))
            size = float(rng.uniform(0.006, 0.014))
            self._lesions.drusen.disc(place, size, size, float(rng.uniform(0.45, 0.85)))

    def _amd(self) -> None:
        """Large confluent drusen, and atrophy or pigment clumps at the fovea."""
        rng = self._rng
        fx, fy = self._anatomy.fovea
        for _ in range(int(rng.integers(25, 45))):
            place = (fx + float(rng.normal(0, 0.11)), fy + float(rng.normal(0, 0.1)))
            self._lesions.drusen.polygon(self._blob(place, float(rng.uniform(0.012, 0.026)), 0.2), float(rng.uniform(0.5, 0.9)))
        if rng.random() < 0.5:
            self._lesions.pale.polygon(self._blob((fx, fy), float(rng.uniform(0.07, 0.15)), 0.2), 0.6)
        for _ in range(int(rng.integers(4, 12))):
            place = (fx + float(rng.normal(0, 0.07)), fy + float(rng.normal(0, 0.07)))
            self._lesions.pigment.polygon(self._blob(place, float(rng.uniform(0.008, 0.02)), 0.35), 0.7)

    def _scar(self) -> None:
        """A toxoplasmosis scar: sclera within, pigment clumps at the rim."""
        rng = self._rng
        centre, size = self._retina(0.2, 0.7), float(rng.uniform(0.08, 0.17))
        self._lesions.pale.polygon(self._blob(centre, size, 0.18), 1.0)
        for angle in np.arange(0, 6.28, 0.33):
            reach = size * float(rng.uniform(0.75, 1.15))
            place = (centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle))
            self._lesions.pigment.polygon(self._blob(place, float(rng.uniform(0.014, 0.036)), 0.35), float(rng.uniform(0.6, 1)))

    def _nevus(self) -> None:
        self._lesions.pigment.polygon(self._blob(self._retina(0.35, 0.8), float(self._rng.uniform(0.08, 0.14)), 0.08), 0.55)

    def _occlusion(self) -> None:
        """A branch vein: flames and blots fill one temporal sector."""
        rng = self._rng
        up = -1.0 if rng.random() < 0.6 else 1.0
        dx, dy = self._anatomy.disc
        for i in range(60):
            angle, distance = float(rng.uniform(0.12, 1.1)), float(rng.uniform(0.2, 0.95))
            place = (dx + self._anatomy.temporal * distance * math.cos(angle), dy + up * distance * math.sin(angle))
            if i % 3:
                self._flame(place)
            else:
                self._blot(place, float(rng.uniform(0.018, 0.035)))
        for _ in range(3):
            angle = float(rng.uniform(0.4, 0.9))
            self._cotton((dx + self._anatomy.temporal * 0.4 * math.cos(angle), dy + up * 0.4 * math.sin(angle)))

    def _hypertension(self) -> None:
        for _ in range(int(self._rng.integers(3, 7))):
            self._flame(self._near_disc())
        for _ in range(int(self._rng.integers(1, 4))):
            self._cotton(self._near_disc())

    def _detachment(self) -> None:
        """A grey, folded sheet that takes one side of the field."""
        rng = self._rng
        side = float(rng.uniform(0, 6.28))
        points = [(1.2 * math.cos(side + t), 1.2 * math.sin(side + t)) for t in np.linspace(-1.1, 1.1, 20)]
        inner = [
            (0.45 * math.cos(side + t) + float(rng.normal(0, 0.03)), 0.45 * math.sin(side + t) + float(rng.normal(0, 0.03)))
            for t in np.linspace(1.1, -1.1, 12)
        ]
        self._lesions.veil.polygon(points + inner, 1.0)

    def _myopia(self) -> None:
        """Atrophy on the temporal side of the disc, and patches in the pole."""
        rng = self._rng
        (dx, dy), (rx, ry) = self._anatomy.disc, self._anatomy.disc_radius
        shift = self._anatomy.temporal * rx * float(rng.uniform(0.45, 0.8))
        self._lesions.pale.disc((dx + shift, dy), rx * 1.25, ry * 1.2, 0.85)
        for _ in range(int(rng.integers(0, 4))):
            self._lesions.pale.polygon(self._blob(self._retina(0.1, 0.5), float(rng.uniform(0.03, 0.09)), 0.25), 0.6)

    def _myelinated(self) -> None:
        """Myelinated nerve fibres: white feathers from the disc; one of many things called 'other'."""
        rng = self._rng
        (dx, dy), (_, ry) = self._anatomy.disc, self._anatomy.disc_radius
        middle = float(rng.uniform(0, 6.28))
        for _ in range(45):
            angle = middle + float(rng.normal(0, 0.28))
            start, end = ry * 0.9, ry * float(rng.uniform(1.4, 2.6))
            points = [(dx + r * math.cos(angle), dy + r * math.sin(angle)) for r in np.linspace(start, end, 4)]
            self._lesions.cotton.line(points, [0.012, 0.01, 0.005], float(rng.uniform(0.5, 0.9)))

    # Places and shapes

    def _retina(self, nearest: float = 0.16, farthest: float = 0.86) -> Point:
        """A place in the field, off disc and fovea."""
        rng, anatomy = self._rng, self._anatomy
        while True:
            radius, angle = farthest * math.sqrt(float(rng.random())), float(rng.uniform(0, 6.28))
            place = (radius * math.cos(angle), radius * math.sin(angle))
            if math.dist(place, anatomy.disc) > 0.17 and nearest < math.dist(place, anatomy.fovea):
                return place

    def _near_disc(self) -> Point:
        rng = self._rng
        angle, distance = float(rng.uniform(0, 6.28)), float(rng.uniform(0.2, 0.5))
        dx, dy = self._anatomy.disc
        place = (dx + distance * math.cos(angle), dy + distance * math.sin(angle))
        return place if math.hypot(*place) < 0.92 else (2 * dx - place[0], place[1])

    def _arcade_place(self) -> Point:
        rng, (fx, fy) = self._rng, self._anatomy.fovea
        up = -1.0 if rng.random() < 0.5 else 1.0
        return fx + float(rng.uniform(-0.35, 0.4)), fy + up * float(rng.uniform(0.42, 0.62))

    def _blob(self, centre: Point, size: float, roughness: float) -> list[Point]:
        """An irregular round outline."""
        rng = self._rng
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
