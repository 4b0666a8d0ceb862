"""Diabetic retinopathy as ICDR grades it: which lesions, how many, and where. Draws with `LesionArtist`, knows no colours.

Grades follow Wilkinson et al. 2003: 1 microaneurysms alone; 2 more than these; 3 many haemorrhages in all quadrants, beaded
veins, intraretinal vessels; 4 new vessels, preretinal blood or fibrous tissue, or the scars of panretinal laser (BRSET grades
treated eyes 4).
"""

from __future__ import annotations

import math

import numpy as np

from foveal_train.data.synthetic.lesions import LesionArtist


def draw_retinopathy(artist: LesionArtist, icdr: int, severity: float, *, edema: bool, laser: bool) -> None:
    """Draw the lesions of a grade.

    Args:
        artist: draws.
        icdr: 0 to 4; 0 draws nothing.
        severity: place within the grade, 0 to 1.
        edema: hard exudates are certain, not only likely.
        laser: grade 4 was treated.
    """
    rng = artist.rng
    if icdr == 0:
        return
    aneurysms = {1: 3 + 9 * severity, 2: 10 + 16 * severity, 3: 26 + 18 * severity, 4: 14 + 14 * severity}[icdr]
    for _ in range(round(aneurysms)):
        artist.aneurysm(artist.place_in_retina())
    if icdr == 1:
        return
    blots = {2: 3 + 9 * severity, 3: 22 + 22 * severity, 4: 8 + 10 * severity}[icdr]
    for _ in range(round(blots)):
        artist.blot(artist.place_in_retina(), float(rng.gamma(5.0, 0.0042)))
    for _ in range(round({2: 1 + 2 * severity, 3: 6 + 6 * severity, 4: 3.0}[icdr])):
        artist.flame(artist.place_in_retina())
    if edema or rng.random() < {2: 0.55, 3: 0.7, 4: 0.5}[icdr]:
        for _ in range(1 + int(rng.integers(0, 2 + icdr // 3))):
            artist.exudates(artist.place_in_retina(0.18, 0.6), int(rng.integers(8, 26)))
    for _ in range(int(rng.poisson({2: 0.5, 3: 3.5, 4: 1.5}[icdr]))):
        artist.cotton(artist.place_near_disc())
    if icdr == 3:
        for _ in range(3):
            artist.new_vessels(artist.place_in_retina(0.35, 0.8), 0.05, 5)
    if icdr == 4:
        _proliferation(artist, laser=laser, severity=severity)


def _proliferation(artist: LesionArtist, *, laser: bool, severity: float) -> None:
    rng = artist.rng
    if laser:
        _laser(artist)
    if not laser or rng.random() < 0.35:
        at_disc = rng.random() < 0.55
        if at_disc:
            artist.new_vessels(artist.anatomy.disc, 0.19 + 0.1 * severity, 26)
        if not at_disc or rng.random() < 0.4:
            for _ in range(1 + int(rng.integers(0, 2))):
                artist.new_vessels(artist.place_by_arcade(), 0.13 + 0.06 * severity, 20)
        if rng.random() < 0.2 + 0.5 * severity:
            artist.preretinal_blood()
        if rng.random() < 0.15 + 0.3 * severity:
            _fibrosis(artist)


def _laser(artist: LesionArtist) -> None:
    """Panretinal photocoagulation: burns in rows outside the arcades, pale with a pigmented heart."""
    rng = artist.rng
    fx, fy = artist.anatomy.fovea
    dx, dy = artist.anatomy.disc
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
            artist.lesions.burns.disc((px, py), size, size * float(rng.uniform(0.75, 1.3)), float(rng.uniform(0.2, 0.65)))
            if rng.random() < 0.5:
                heart = float(rng.uniform(0.3, 0.65)) * size
                artist.lesions.pigment.disc((px + 0.15 * size, py), heart, 0.8 * heart, float(rng.uniform(0.2, 0.8)))


def _fibrosis(artist: LesionArtist) -> None:
    """White fibrous strands along an arcade."""
    rng = artist.rng
    (dx, dy), up = artist.anatomy.disc, -1.0 if rng.random() < 0.5 else 1.0
    for _ in range(5):
        x, y = dx, dy
        points = [(x, y)]
        angle = math.atan2(up, 0.9 * artist.anatomy.temporal)
        for _ in range(14):
            angle += float(rng.normal(0, 0.12)) - 0.02 * up * artist.anatomy.temporal
            x, y = x + 0.035 * math.cos(angle), y + 0.035 * math.sin(angle)
            points.append((x, y))
        widths = [0.035 * (1 - i / len(points)) + 0.008 for i in range(len(points))]
        artist.lesions.cotton.line(points, widths, float(rng.uniform(0.35, 0.6)))
