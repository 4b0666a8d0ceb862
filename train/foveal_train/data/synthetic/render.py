"""A fundus photograph from a plan of one eye: layers of tissue, blood and light put together, then the camera's look.

Colour is built as light returning from the retina: pale tissue is mixed in, blood and pigment absorb (green and blue more
than red), and the flash's uneven illumination multiplies the whole. Planes are planar `rgb_CSS` until the end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.study import Eye
from foveal_train.data.notes import Finding
from foveal_train.data.synthetic.anatomy import Anatomy, draw_anatomy
from foveal_train.data.synthetic.camera import LOOKS, Look, UInt8, photograph
from foveal_train.data.synthetic.canvas import Field, Float32, Mask, Point, absorb, blend, mottle, ridges, smoothstep
from foveal_train.data.synthetic.findings import draw_findings
from foveal_train.data.synthetic.lesions import LesionArtist, Lesions
from foveal_train.data.synthetic.patients import Camera, Quality
from foveal_train.data.synthetic.retinopathy import draw_retinopathy

Bool = npt.NDArray[np.bool_]

# Optical density per unit of blood and of pigment, for R, G, B.
_BLOOD = (0.38, 1.12, 0.86)
_PIGMENT = (0.85, 1.10, 1.20)
# Blood column seen in a vessel, by order: thin vessels are paler.
_ARTERY = (0.56, 0.50, 0.42, 0.34)
_VEIN = (0.94, 0.76, 0.58, 0.44)
_DISC = (0.99, 0.68, 0.44)
_CUP = (1.0, 0.90, 0.70)
_EXUDATE = (0.98, 0.86, 0.42)
_COTTON = (0.93, 0.84, 0.68)
_DRUSEN = (0.93, 0.69, 0.33)
_SCLERA = (0.95, 0.82, 0.60)
_BURN = (0.84, 0.66, 0.40)
_VEIL = (0.76, 0.56, 0.38)
_DRAWN = 0.3
"""Share of a pixel that a lesion covers, from which the pixel counts as its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FundusPlan:
    """Everything that decides a photograph besides its random details."""

    eye: Eye
    icdr: int = 0
    severity: float = 0.5
    findings: frozenset[Finding] = frozenset()
    camera: Camera = Camera.CANON
    quality: Quality = field(default_factory=Quality)
    laser: bool = False
    age_years: float = 58.0


def render(rng: np.random.Generator, plan: FundusPlan, side_px: int = 512) -> UInt8:
    """Draw the photograph, `rgb_HWC` of side_px x side_px."""
    return render_with_lesions(rng, plan, side_px)[0]


def render_with_lesions(rng: np.random.Generator, plan: FundusPlan, side_px: int = 512) -> tuple[UInt8, Bool]:
    """The photograph, and `lesions_HW`: where the lesions of retinopathy were drawn."""
    look = LOOKS[plan.camera]
    shift = rng.normal(0, 0.16, size=2) if plan.quality.image_field else np.zeros(2)
    radius_px = side_px / 2 * look.radius
    view = Field(side_px=side_px, radius_px=radius_px, centre_x_px=side_px / 2, centre_y_px=side_px / 2)
    # A badly aimed camera moves the eye, not the field: landmarks are drawn on a shifted field.
    aimed = Field(
        side_px=side_px,
        radius_px=radius_px,
        centre_x_px=side_px / 2 + float(shift[0]) * radius_px,
        centre_y_px=side_px / 2 + float(shift[1]) * radius_px,
    )
    myopic = Finding.MYOPIC_FUNDUS in plan.findings
    anatomy = draw_anatomy(
        rng,
        plan.eye,
        cupped=Finding.INCREASED_CUP_DISC in plan.findings,
        narrow_arteries=0.6 if Finding.HYPERTENSIVE_RETINOPATHY in plan.findings else 1.0,
        tilt=0.25 if myopic else 0.0,
    )
    lesions = Lesions(aimed)
    artist = LesionArtist(rng, anatomy, lesions)
    draw_retinopathy(artist, plan.icdr, plan.severity, edema=Finding.MACULAR_EDEMA in plan.findings, laser=plan.laser)
    draw_findings(artist, plan.findings, diabetic=plan.icdr > 0)
    rgb_CSS = _tissue(rng, plan, look, anatomy, aimed, tessellation=0.16 if myopic else float(rng.uniform(0.0, 0.07)))
    blend(rgb_CSS, lesions.drusen, _DRUSEN, blur=0.004)
    blend(rgb_CSS, lesions.pale, _SCLERA, blur=0.008)
    _blend_disc(rng, rgb_CSS, anatomy, aimed)
    absorb(rgb_CSS, _vessels(rng, anatomy, aimed, beading=plan.icdr >= 3), _BLOOD, blur=0.0022)
    blend(rgb_CSS, lesions.veil, _VEIL, blur=0.05, strength=0.5)
    blend(rgb_CSS, lesions.burns, _BURN, blur=0.006)
    blend(rgb_CSS, lesions.exudate, _EXUDATE, blur=0.003)
    blend(rgb_CSS, lesions.cotton, _COTTON, blur=0.016)
    absorb(rgb_CSS, lesions.pigment, _PIGMENT, blur=0.007)
    absorb(rgb_CSS, lesions.new_vessels, _BLOOD, blur=0.002, strength=0.75)
    absorb(rgb_CSS, lesions.blood, _BLOOD, blur=0.006, strength=0.92)
    drawn_HW = np.zeros((side_px, side_px), np.bool_)
    for mask in (lesions.blood, lesions.new_vessels, lesions.exudate, lesions.cotton):
        if mask.used:
            place, level = mask.patch()
            drawn_HW[place] |= level > _DRAWN
    rgb_HWC = photograph(rng, rgb_CSS, view, camera=plan.camera, quality=plan.quality, age_years=plan.age_years)
    return rgb_HWC, drawn_HW


def render_fundus(
    *,
    seed: int,
    eye: Eye,
    icdr: int = 0,
    findings: Collection[Finding | str] = (),
    camera: Camera | str = Camera.CANON,
    side_px: int = 512,
) -> UInt8:
    """A generated photograph, `rgb_HWC`, the same for the same arguments; no patient ever had this eye.

    Args:
        seed: of the random details, the place within the grade among them.
        eye: the disc lies on the right of a right eye, on the left of a left one.
        icdr: grade 0 to 4; its lesions are drawn.
        findings: BRSET flags by canonical name; unlike the table's, the retinopathy flag itself draws nothing.
        camera: BRSET's name of a camera.
        side_px: height and width.

    Raises:
        DataError: a grade that does not exist.
    """
    if not 0 <= icdr < GRADES:
        raise DataError(f"icdr grade is {icdr}, grades are 0 to {GRADES - 1}")
    rng = np.random.default_rng([seed, int(eye is Eye.LEFT)])
    plan = FundusPlan(
        eye=eye,
        icdr=icdr,
        severity=float(rng.random()),
        findings=frozenset(Finding(f) for f in findings),
        camera=Camera(camera),
        laser=icdr == 4 and bool(rng.random() < 0.5),
    )
    return render(rng, plan, side_px)


def _tissue(
    rng: np.random.Generator, plan: FundusPlan, look: Look, anatomy: Anatomy, view: Field, *, tessellation: float
) -> Float32:
    """Retina without vessels: colour of the eye, mottling, macular pigment, nerve-fibre sheen."""
    side = view.side_px
    hue = rng.normal(0, 1, size=3)
    tissue = np.asarray(look.tissue) * (1 + 0.07 * hue[0] + np.asarray([0.0, 0.085, 0.22]) * hue[1])
    aged = (plan.age_years - 58.0) / 40.0
    # The lens yellows with age: blue goes first.
    tissue = tissue * np.asarray([1.0, 1 - 0.04 * aged, 1 - 0.25 * aged])
    density = mottle(rng, side, ((4, 0.075), (13, 0.035), (40, 0.028), (120, 0.018)))
    if tessellation > 0.02:
        density = density + np.float32(tessellation) * ridges(rng, side, 44)
    macula = float(rng.uniform(0.24, 0.42))
    density = density + np.float32(macula) * _bump(view, anatomy.fovea, 0.17)
    density += np.float32(0.6 * macula) * _bump(view, anatomy.fovea, 0.045)
    # Nerve fibres brighten the ground around the disc.
    density -= np.float32(0.20) * _bump(view, anatomy.disc, 0.26)
    rgb_CSS = np.empty((3, side, side), np.float32)
    for channel, (value, weight) in enumerate(zip(tissue, (0.62, 1.0, 1.05), strict=True)):
        np.exp(density * np.float32(-weight), out=rgb_CSS[channel])
        rgb_CSS[channel] *= np.float32(value)
    return rgb_CSS


def _bump(view: Field, centre: Point, width: float) -> Float32:
    """A Gaussian hill of height 1, as the product of two curves: no exponential per pixel."""
    x_1S, y_S1 = view.grid()
    k = np.float32(-0.5 / width**2)
    return np.asarray(np.exp(k * (x_1S - centre[0]) ** 2) * np.exp(k * (y_S1 - centre[1]) ** 2), dtype=np.float32)


def _blend_disc(rng: np.random.Generator, rgb_CSS: Float32, anatomy: Anatomy, view: Field) -> None:
    """The optic disc: soft-edged, its temporal side and its cup paler."""
    x_1S, y_S1 = view.grid()
    (dx, dy), (rx, ry) = anatomy.disc, anatomy.disc_radius
    reach = 1.5
    # Only the patch round the disc is touched: the rest of the plane would cost ten times as much.
    columns = np.flatnonzero(np.abs(x_1S[0] - dx) < reach * rx)
    rows = np.flatnonzero(np.abs(y_S1[:, 0] - dy) < reach * ry)
    if not columns.size or not rows.size:
        return
    where = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x, y = (x_1S[:, where[1]] - dx) / rx, (y_S1[where[0]] - dy) / ry
    r = np.sqrt(x**2 + y**2)
    disc = smoothstep(1.0 - r, 0.22)
    # The cup lies a little temporal of the middle.
    cup_r = np.sqrt((x - 0.08 * anatomy.temporal) ** 2 + y**2)
    cup = smoothstep(anatomy.cup_ratio - cup_r, 0.28) * np.float32(rng.uniform(0.75, 0.95))
    shade = 1 + 0.07 * anatomy.temporal * x
    warmth = float(rng.normal(1.0, 0.06))
    for channel in range(3):
        plane = rgb_CSS[channel][where]
        rim = np.float32(_DISC[channel] * (warmth if channel else 1.0)) * shade
        colour = rim + cup * (np.float32(_CUP[channel]) - rim)
        plane += disc * np.float32(0.93) * (colour - plane)


def _vessels(rng: np.random.Generator, anatomy: Anatomy, view: Field, *, beading: bool) -> Mask:
    """All vessels; arteries are lighter, with a reflex along the middle; veins may be beaded."""
    mask = Mask(view)
    # Full vessels last: a thin branch never lightens the trunk it springs from.
    for vessel in sorted(anatomy.vessels, key=lambda v: (_ARTERY if v.artery else _VEIN)[v.order]):
        level = (_ARTERY if vessel.artery else _VEIN)[vessel.order]
        widths = list(vessel.widths)
        if beading and not vessel.artery and vessel.order == 0:
            phase = float(rng.uniform(0, 6.28))
            widths = [w * (1 + 0.4 * float(np.sin(phase + 0.75 * i))) for i, w in enumerate(widths)]
        mask.line(vessel.points, widths, level)
        if vessel.order == 0:
            mask.line(vessel.points, [0.3 * w for w in widths], level * (0.55 if vessel.artery else 0.85))
    return mask
