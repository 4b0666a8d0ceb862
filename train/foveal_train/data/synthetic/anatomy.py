"""The healthy eye: where disc and fovea lie, and its vessels. Geometry alone, no pixels.

Places are in radii of the field of view, drawn for the right eye (disc to the right of the fovea); a left eye is mirrored.
Distances follow a 45-degree macula-centred photograph: the disc is 0.13 in radius and about 0.68 from the fovea.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal_runtime.study.study import Eye
from foveal_train.data.synthetic.canvas import Point
from foveal_train.data.synthetic.vessels import Vasculature, Vessel


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
    height = float(rng.normal(0.130, 0.008))
    radius = (height * float(rng.normal(0.9, 0.03)) * (1 - tilt), height)
    cup = float(rng.uniform(0.64, 0.85) if cupped else np.clip(rng.normal(0.34, 0.08), 0.12, 0.5))
    vessels = Vasculature(rng, disc, fovea, narrow_arteries=narrow_arteries).grow()
    if eye is Eye.LEFT:
        disc, fovea = (-disc[0], disc[1]), (-fovea[0], fovea[1])
        vessels = [
            Vessel(points=tuple((-x, y) for x, y in v.points), widths=v.widths, artery=v.artery, order=v.order) for v in vessels
        ]
    return Anatomy(eye=eye, disc=disc, disc_radius=radius, cup_ratio=cup, fovea=fovea, vessels=tuple(vessels))
