"""Can this photograph be graded? Four checks on a reduced copy, each with one threshold. Knows nothing of models.

The thresholds separate the 404 IDRiD photographs from what is refused (benchmarks/runtime_quality.py measures both sides); the
checks follow the usual split of retinal image quality into illumination, focus, field definition and "is it a fundus at all"
(Fleming et al. 2006; Köhler et al. 2013 for no-reference focus). A photograph that passes is gradable by these checks, no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.imaging import UInt8

_PROBE_PX = 384
"""Long side of the reduced copy. Smaller photographs are probed as they are."""
_LIT = 18
"""As in `imaging`: a pixel whose brightest channel exceeds this belongs to the field of view."""

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


class Quality(Enum):
    """The verdict; the value is the sentence for people."""

    GRADABLE = "the photograph can be graded"
    TOO_DARK = "the photograph is blank or too dark; check the flash and take it again"
    OUT_OF_FOCUS = "the photograph is out of focus; take it again"
    FIELD_MISSING = "most of the circular field of view is missing; centre the eye and take it again"
    NOT_FUNDUS = "this does not look like a colour fundus photograph; check what was sent"

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Thresholds of the checks."""

    min_lit_share: float = 0.12
    """Of the photograph's pixels that are not black."""
    max_lit_share: float = 0.95
    """A disc in a rectangle leaves dark corners, even cut above and below (IDRiD: at most 0.73); daily pictures have none."""
    min_brightness: float = 25.0
    """Mean of the lit pixels, 0 to 255, over the three channels."""
    min_reddish_share: float = 0.80
    """Of the lit pixels with red >= green >= blue: the retina's colour. IDRiD: at least 0.95."""
    min_red_over_blue: float = 1.3
    """Mean red against mean blue. Grey-scale pictures have 1, IDRiD at least 1.98."""
    min_disc_share: float = 0.60
    """Of the disc over the lit pixels' bounding square that is lit. IDRiD: at least 0.84, its cut-off caps missing."""
    min_round: float = 0.90
    """Of the disc inside the photograph that is lit. IDRiD: at least 0.96."""
    min_focus: float = 0.62
    """Deviation of the finest octave against the next one's. IDRiD: at least 0.67; blurred by 1.5 pixels, at most 0.60."""
    min_detail: float = 0.0075
    """Deviation of the finest octave against the mean brightness. IDRiD: at least 0.009; blurred by 5 px, at most 0.007."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What the checks look at."""

    lit_share: float
    brightness: float
    reddish_share: float
    red_over_blue: float
    disc_share: float
    round: float
    focus: float
    detail: float


def measure(rgb_HWC: UInt8) -> Measures:
    """Measure a photograph; anything that can't be measured is 0."""
    image = Image.fromarray(rgb_HWC)
    scale = min(1.0, _PROBE_PX / max(image.size))
    if scale < 1.0:
        image = image.resize((max(8, round(image.width * scale)), max(8, round(image.height * scale))), Image.Resampling.BOX)
    red, green, blue = (np.asarray(channel) for channel in image.split())
    lit_HW = np.maximum(np.maximum(red, green), blue) > _LIT
    lit = int(lit_HW.sum())
    if lit < 64:
        return Measures(
            lit_share=lit / lit_HW.size,
            brightness=0,
            reddish_share=0,
            red_over_blue=0,
            disc_share=0,
            round=0,
            focus=0,
            detail=0,
        )
    mean_red, mean_green, mean_blue = (float(channel.sum(where=lit_HW, dtype=np.int64)) / lit for channel in (red, green, blue))
    # A little slack for blue: JPEG's chroma is coarse, and cameras differ in their white balance.
    reddish_HW = (red >= green) & (green >= np.where(blue > 8, blue - 8, 0)) & lit_HW
    disc_share, roundness = _disc(lit_HW)
    focus, detail = _focus(green.astype(np.float32), lit_HW)
    return Measures(
        lit_share=lit / lit_HW.size,
        brightness=(mean_red + mean_green + mean_blue) / 3,
        reddish_share=int(reddish_HW.sum()) / lit,
        red_over_blue=mean_red / max(mean_blue, 1.0),
        disc_share=disc_share,
        round=roundness,
        focus=focus,
        detail=detail,
    )


def _disc(lit_HW: Bool) -> tuple[float, float]:
    """Lit share of the disc over the bounding square: of the whole disc, and of its part inside the photograph."""
    columns = np.flatnonzero(lit_HW.mean(axis=0) > 0.02)
    rows = np.flatnonzero(lit_HW.mean(axis=1) > 0.02)
    if columns.size < 8 or rows.size < 8:
        return 0.0, 0.0
    radius = max(columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1) / 2
    y = np.arange(lit_HW.shape[0])[:, None] - (rows[0] + rows[-1]) / 2
    x = np.arange(lit_HW.shape[1])[None, :] - (columns[0] + columns[-1]) / 2
    disc_HW = x * x + y * y <= radius * radius
    inside = int((lit_HW & disc_HW).sum())
    return inside / (math.pi * radius * radius), inside / max(int(disc_HW.sum()), 1)


def _focus(green_HW: Float32, lit_HW: Bool) -> tuple[float, float]:
    """Deviation of the finest octave against the next one's, and against the mean, away from the field's edge."""
    finest_HW, half_HW = _octave(green_HW)
    next_HW, _ = _octave(half_HW)
    inner_HW = _eroded(lit_HW, 9)
    inner_half_HW = _eroded(_resized(lit_HW.astype(np.float32), half_HW.shape) > 0.99, 5)
    if inner_HW.sum() < 64 or inner_half_HW.sum() < 64:
        return 0.0, 0.0
    finest, coarser = float(finest_HW[inner_HW].std()), float(next_HW[inner_half_HW].std())
    return finest / max(coarser, 0.3), finest / max(float(green_HW[inner_HW].mean()), 1.0)


def _octave(grey_HW: Float32) -> tuple[Float32, Float32]:
    """What one halving loses, and the half."""
    height, width = grey_HW.shape
    half_HW = _resized(grey_HW, (max(4, height // 2), max(4, width // 2)))
    return grey_HW - _resized(half_HW, grey_HW.shape), half_HW


def _resized(grey_HW: Float32, shape: tuple[int, ...]) -> Float32:
    image = Image.fromarray(grey_HW).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def _eroded(mask_HW: Bool, by: int) -> Bool:
    """The mask without a border of `by` pixels, photograph's edge included."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, by)
    kept = mask_HW.copy()
    for dy, dx in ((-by, 0), (by, 0), (0, -by), (0, by)):
        kept &= padded[by + dy : by + dy + height, by + dx : by + dx + width]
    return kept


def verdict(measures: Measures, limits: QualityLimits | None = None) -> Quality:
    """The first check that fails, in the order in which a photographer would look."""
    limits = QualityLimits() if limits is None else limits
    if measures.lit_share < limits.min_lit_share or measures.brightness < limits.min_brightness:
        return Quality.TOO_DARK
    if measures.reddish_share < limits.min_reddish_share or measures.red_over_blue < limits.min_red_over_blue:
        return Quality.NOT_FUNDUS
    if measures.lit_share > limits.max_lit_share:
        return Quality.NOT_FUNDUS
    if measures.disc_share < limits.min_disc_share or measures.round < limits.min_round:
        return Quality.FIELD_MISSING
    if measures.focus < limits.min_focus or measures.detail < limits.min_detail:
        return Quality.OUT_OF_FOCUS
    return Quality.GRADABLE


def assess(rgb_HWC: UInt8) -> Quality:
    """The verdict on a decoded photograph."""
    return verdict(measure(rgb_HWC))
