"""BRSET's other flags: what each adds to an eye. Draws with `LesionArtist`, knows no colours.

Two flags change the anatomy besides: an increased cup and narrow arteries are drawn by `render`. The flag of diabetic
retinopathy draws nothing, its grade does (`retinopathy`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np

from foveal_train.data.notes import Finding
from foveal_train.data.synthetic.lesions import LesionArtist


def draw_findings(artist: LesionArtist, findings: Collection[Finding], *, diabetic: bool) -> None:
    """Draw every flagged finding, in the order of BRSET's columns.

    Args:
        artist: draws.
        findings: flags.
        diabetic: macular edema comes with hard exudates.
    """
    drawers: dict[Finding, Callable[[LesionArtist], None]] = {
        Finding.SCAR: _scar,
        Finding.NEVUS: _nevus,
        Finding.AMD: _amd,
        Finding.VASCULAR_OCCLUSION: _occlusion,
        Finding.HYPERTENSIVE_RETINOPATHY: _hypertension,
        Finding.DRUSEN: _drusen,
        Finding.HEMORRHAGE: LesionArtist.preretinal_blood,
        Finding.RETINAL_DETACHMENT: _detachment,
        Finding.MYOPIC_FUNDUS: _myopia,
        Finding.OTHER: _myelinated,
    }
    if Finding.MACULAR_EDEMA in findings:
        _edema(artist, hard=diabetic)
    for finding, drawer in drawers.items():
        if finding in findings:
            drawer(artist)


def _edema(artist: LesionArtist, *, hard: bool) -> None:
    """Grey swelling of the macula; in diabetes with exudates near the fovea."""
    fovea = artist.anatomy.fovea
    artist.lesions.veil.polygon(artist.outline(fovea, float(artist.rng.uniform(0.15, 0.22)), 0.12), 0.75)
    if hard:
        for _ in range(2):
            angle = float(artist.rng.uniform(0, 6.28))
            place = (fovea[0] + 0.12 * math.cos(angle), fovea[1] + 0.12 * math.sin(angle))
            artist.exudates(place, int(artist.rng.integers(8, 20)))


def _drusen(artist: LesionArtist) -> None:
    rng = artist.rng
    fx, fy = artist.anatomy.fovea
    for _ in range(int(rng.integers(22, 60))):
        place = (fx + float(rng.normal(0, 0.17)), fy + float(rng.normal(0, 0.15)))
        size = float(rng.uniform(0.006, 0.014))
        artist.lesions.drusen.disc(place, size, size, float(rng.uniform(0.45, 0.85)))


def _amd(artist: LesionArtist) -> None:
    """Large confluent drusen, and atrophy or pigment clumps at the fovea."""
    rng = artist.rng
    fx, fy = artist.anatomy.fovea
    for _ in range(int(rng.integers(25, 45))):
        place = (fx + float(rng.normal(0, 0.11)), fy + float(rng.normal(0, 0.1)))
        artist.lesions.drusen.polygon(
            artist.outline(place, float(rng.uniform(0.012, 0.026)), 0.2), float(rng.uniform(0.5, 0.9))
        )
    if rng.random() < 0.5:
        artist.lesions.pale.polygon(artist.outline((fx, fy), float(rng.uniform(0.07, 0.15)), 0.2), 0.6)
    for _ in range(int(rng.integers(4, 12))):
        place = (fx + float(rng.normal(0, 0.07)), fy + float(rng.normal(0, 0.07)))
        artist.lesions.pigment.polygon(artist.outline(place, float(rng.uniform(0.008, 0.02)), 0.35), 0.7)


def _scar(artist: LesionArtist) -> None:
    """A toxoplasmosis scar: sclera within, pigment clumps at the rim."""
    rng = artist.rng
    centre, size = artist.place_in_retina(0.2, 0.7), float(rng.uniform(0.08, 0.17))
    artist.lesions.pale.polygon(artist.outline(centre, size, 0.18), 1.0)
    for angle in np.arange(0, 6.28, 0.33):
        reach = size * float(rng.uniform(0.75, 1.15))
        place = (centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle))
        artist.lesions.pigment.polygon(
            artist.outline(place, float(rng.uniform(0.014, 0.036)), 0.35), float(rng.uniform(0.6, 1))
        )


def _nevus(artist: LesionArtist) -> None:
    artist.lesions.pigment.polygon(
        artist.outline(artist.place_in_retina(0.35, 0.8), float(artist.rng.uniform(0.08, 0.14)), 0.08), 0.55
    )


def _occlusion(artist: LesionArtist) -> None:
    """A branch vein: flames and blots fill one temporal sector."""
    rng = artist.rng
    up = -1.0 if rng.random() < 0.6 else 1.0
    dx, dy = artist.anatomy.disc
    for i in range(60):
        angle, distance = float(rng.uniform(0.12, 1.1)), float(rng.uniform(0.2, 0.95))
        place = (dx + artist.anatomy.temporal * distance * math.cos(angle), dy + up * distance * math.sin(angle))
        if i % 3:
            artist.flame(place)
        else:
            artist.blot(place, float(rng.uniform(0.018, 0.035)))
    for _ in range(3):
        angle = float(rng.uniform(0.4, 0.9))
        artist.cotton((dx + artist.anatomy.temporal * 0.4 * math.cos(angle), dy + up * 0.4 * math.sin(angle)))


def _hypertension(artist: LesionArtist) -> None:
    for _ in range(int(artist.rng.integers(3, 7))):
        artist.flame(artist.place_near_disc())
    for _ in range(int(artist.rng.integers(1, 4))):
        artist.cotton(artist.place_near_disc())


def _detachment(artist: LesionArtist) -> None:
    """A grey, folded sheet that takes one side of the field."""
    rng = artist.rng
    side = float(rng.uniform(0, 6.28))
    points = [(1.2 * math.cos(side + t), 1.2 * math.sin(side + t)) for t in np.linspace(-1.1, 1.1, 20)]
    inner = [
        (0.45 * math.cos(side + t) + float(rng.normal(0, 0.03)), 0.45 * math.sin(side + t) + float(rng.normal(0, 0.03)))
        for t in np.linspace(1.1, -1.1, 12)
    ]
    artist.lesions.veil.polygon(points + inner, 1.0)


def _myopia(artist: LesionArtist) -> None:
    """Atrophy on the temporal side of the disc, and patches in the pole."""
    rng = artist.rng
    (dx, dy), (rx, ry) = artist.anatomy.disc, artist.anatomy.disc_radius
    shift = artist.anatomy.temporal * rx * float(rng.uniform(0.45, 0.8))
    artist.lesions.pale.disc((dx + shift, dy), rx * 1.25, ry * 1.2, 0.85)
    for _ in range(int(rng.integers(0, 4))):
        artist.lesions.pale.polygon(artist.outline(artist.place_in_retina(0.1, 0.5), float(rng.uniform(0.03, 0.09)), 0.25), 0.6)


def _myelinated(artist: LesionArtist) -> None:
    """Myelinated nerve fibres: white feathers from the disc; one of many things called 'other'."""
    rng = artist.rng
    (dx, dy), (_, ry) = artist.anatomy.disc, artist.anatomy.disc_radius
    middle = float(rng.uniform(0, 6.28))
    for _ in range(45):
        angle = middle + float(rng.normal(0, 0.28))
        start, end = ry * 0.9, ry * float(rng.uniform(1.4, 2.6))
        points = [(dx + r * math.cos(angle), dy + r * math.sin(angle)) for r in np.linspace(start, end, 4)]
        artist.lesions.cotton.line(points, [0.012, 0.01, 0.005], float(rng.uniform(0.5, 0.9)))
