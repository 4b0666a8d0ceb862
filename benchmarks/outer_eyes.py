"""Eyes seen from outside, drawn: faces' halves, irises close up, slit-lamp pictures. No fundus, yet eye clinics send them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import ImageFilter

from not_fundus import _FAR, _X, _Y, DRAWN, _branches, _cloud, _grains, _round
from recast import Picture, Pixels, Rng, picture_of

_Colour = npt.NDArray[np.float64]


def _iris_colour(rng: Rng) -> _Colour:
    return np.array(
        ((95, 62, 38), (70, 45, 30), (110, 120, 140), (90, 115, 85), (140, 95, 50))[int(rng.integers(5))]
    ) * rng.uniform(0.7, 1.3)


def _skin_colour(rng: Rng) -> _Colour:
    return np.array([1.0, rng.uniform(0.6, 0.8), rng.uniform(0.45, 0.7)]) * rng.uniform(90, 230)


def _mix(under: Pixels, over: npt.ArrayLike, share: Pixels) -> Pixels:
    return np.asarray(under * (1 - share[..., None]) + np.asarray(over) * share[..., None], np.float32)


def _iris(rng: Rng, x: float, y: float, radius: float) -> tuple[Pixels, Pixels]:
    """Its colours and where it is: fibres, a dark border, the pupil, one or two highlights."""
    dx, dy = (_X - x) / radius, (_Y - y) / radius
    far, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    fibres = sum(np.sin(angle * int(rng.integers(20, 90)) + rng.uniform(0, 6.3) + 2 * far) for _ in range(4)) / 4
    shade = (0.95 + 0.25 * fibres + 0.15 * _cloud(rng)) * (1 - 0.5 * (far > 0.88))
    pixels = shade[..., None] * _iris_colour(rng)
    pupil = rng.uniform(0.2, 0.6)
    red_reflex = rng.random() < 0.25
    pixels = _mix(pixels, (190, 70, 35) if red_reflex else (10, 8, 8), ((pupil - far) * 40).clip(0, 1))
    for _ in range(int(rng.integers(1, 3))):
        gx, gy = rng.uniform(-0.4, 0.4, 2)
        pixels = _mix(pixels, (250, 250, 250), ((rng.uniform(0.05, 0.16) - np.hypot(dx - gx, dy - gy)) * 40).clip(0, 1))
    return pixels, ((1 - far) * 30).clip(0, 1)


def _sclera(rng: Rng) -> Pixels:
    """White with red vessels."""
    red = (
        np.asarray(
            _branches(rng, rng.uniform(1.5, 4), int(rng.integers(2, 8))).filter(ImageFilter.GaussianBlur(1.5)), np.float32
        )
        / 255
    )
    base = np.array([rng.uniform(200, 245), rng.uniform(180, 225), rng.uniform(170, 220)]) * (1 + 0.05 * _cloud(rng)[..., None])
    return _mix(base.astype(np.float32), (185, 70, 65), 0.8 * red)


def outer_eye(rng: Rng) -> Picture:
    """Skin, lids, lashes, white and iris."""
    x, y, radius = rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15), rng.uniform(0.28, 0.5)
    iris, where = _iris(rng, x, y, radius)
    eye = _mix(_sclera(rng), iris, where)
    opening, wide = rng.uniform(0.25, 0.5), rng.uniform(0.8, 1.1)
    arch = opening * (1 - (_X / wide) ** 2)
    inside = ((arch - np.abs(_Y - y)) * 40).clip(0, 1)
    skin = _skin_colour(rng) * (
        1 + 0.06 * _cloud(rng, 320)[..., None] - 0.25 * np.exp(-(((np.abs(_Y - y) - arch) / 0.06) ** 2))[..., None]
    )
    pixels = _mix(skin.astype(np.float32), eye, inside)
    lashes = (np.sin(_X * rng.uniform(60, 110) + 3 * _Y) > 0.6) & (y - _Y > arch) & (y - _Y < arch + 0.12) & (np.abs(_X) < wide)
    return picture_of(_mix(pixels, (25, 20, 18), 0.8 * lashes.astype(np.float32)))


def outer_eye_in_a_round_field(rng: Rng) -> Picture:
    """The same through a fundus camera that was too far away."""
    return _round(outer_eye(rng), rng, soft=bool(rng.random() < 0.5))


def iris_close_up(rng: Rng) -> Picture:
    """The iris fills the picture, or a round field on black."""
    iris, where = _iris(rng, rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), rng.uniform(0.8, 1.2))
    made = picture_of(_mix(_sclera(rng), iris, where))
    return made if rng.random() < 0.5 else _round(made, rng)


def slit_lamp(rng: Rng) -> Picture:
    """A bright slit across a dim eye, its light curved over cornea and lens."""
    iris, where = _iris(rng, rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15), rng.uniform(0.45, 0.75))
    dim = _mix(_sclera(rng), iris, where) * rng.uniform(0.05, 0.35)
    middle, bend, width = rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3), rng.uniform(0.015, 0.09)
    slit = np.exp(-(((_X - middle - bend * _Y * _Y) / width) ** 4)) * (np.abs(_Y) < rng.uniform(0.5, 0.95))
    second = np.exp(-(((_X - middle - rng.uniform(0.1, 0.3) + bend * _Y * _Y) / (2 * width)) ** 4)) * (np.abs(_Y) < 0.5)
    beam = np.array([rng.uniform(190, 250), rng.uniform(190, 250), rng.uniform(170, 250)]) * (
        0.9 + 0.15 * _cloud(rng)[..., None]
    )
    return picture_of(_mix(_mix(dim, beam, slit), beam * 0.6, 0.5 * second))


def slit_lamp_wide(rng: Rng) -> Picture:
    """Diffuse light: iris and white in a soft spot, the rest dark."""
    iris, where = _iris(rng, rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15), rng.uniform(0.5, 0.9))
    light = np.exp(-((np.hypot(_X - rng.uniform(-0.2, 0.2), _Y - rng.uniform(-0.2, 0.2)) / rng.uniform(0.6, 1.0)) ** 4))
    return picture_of(_mix(_sclera(rng), iris, where) * light[..., None])


def red_reflex(rng: Rng) -> Picture:
    """The pupil lit from behind: an orange disc, lens opacities in it, a dim iris round it."""
    radius = rng.uniform(0.35, 0.75)
    iris, where = _iris(rng, 0.0, 0.0, radius * rng.uniform(1.3, 1.8))
    glow = np.array([rng.uniform(180, 240), rng.uniform(70, 130), rng.uniform(30, 70)]) * (
        1 + 0.12 * _grains(rng, int(rng.integers(3, 9)))[..., None]
    )
    dim = _mix(_sclera(rng), iris, where) * rng.uniform(0.05, 0.4)
    pixels = _mix(dim, glow, ((radius - _FAR) * 60).clip(0, 1))
    spokes = (
        np.asarray(_branches(rng, rng.uniform(3, 8), int(rng.integers(1, 5))).filter(ImageFilter.GaussianBlur(2)), np.float32)
        / 255
    )
    return picture_of(_mix(pixels, (60, 25, 15), 0.7 * spokes * (radius > _FAR)))


def conjunctiva(rng: Rng) -> Picture:
    """White and red vessels alone, or an everted lid."""
    pixels = _sclera(rng)
    if rng.random() < 0.5:
        pixels = _mix(pixels, (205, 95, 90), np.full(_FAR.shape, rng.uniform(0.4, 0.8), np.float32))
    return picture_of(pixels * (1 - rng.uniform(0, 0.5) * _FAR[..., None] ** 2))


OUTER: dict[str, Callable[[Rng], Picture]] = {
    f.__name__.replace("_", " "): f
    for f in (outer_eye, outer_eye_in_a_round_field, iris_close_up, slit_lamp, slit_lamp_wide, red_reflex, conjunctiva)
}
"""By name."""
NOT_FUNDUS: dict[str, Callable[[Rng], Picture]] = DRAWN | OUTER
"""Everything drawn that is no fundus."""
