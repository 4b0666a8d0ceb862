"""Paper round a field of view, white or grey where cameras leave black: told from the rim, painted black. Crops nothing.

Shapes: H, W pixels of a photograph or a copy of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

PAPER_SHARE = 0.8
"""Of the paper's level: what stays below it in the darkest channel belongs to the field of view. Retina takes blue first."""
_PALE = 70
"""Darkest channel of a ground that is paper or a page rather than camera black."""
_PALE_SHARE = 0.6
"""Of the photograph's rim that has the ground's colour, where there is a ground at all."""
_MIDDLE_SHARE = 0.9
"""Of the photograph's middle that an eye on paper covers."""
_EDGE_SHARE = 0.004
"""Of the shorter side: how much of the field's edge, where paper and eye mix, is painted too."""


def paper_level(planes: UInt8) -> float:
    """How light the paper round the field is, 0 to 255; 0 where the ground is camera black, or none is seen.

    Args:
        planes: red, green and blue one after the other, `_3HW`.
    """
    rim_3N = np.concatenate((planes[:, 0], planes[:, -1], planes[:, 1:-1, 0], planes[:, 1:-1, -1]), axis=1)
    darkest, brightest = rim_3N.min(axis=0), rim_3N.max(axis=0)
    level = float(np.partition(darkest, darkest.size // 2)[darkest.size // 2])
    # Paper is light, nearly grey, and the same nearly everywhere round the field.
    like = (np.abs(darkest - level) < 12) & (brightest - level < 36)
    return level if level > _PALE and float(like.mean()) > _PALE_SHARE else 0.0


def surrounds_an_eye(rgb_HWC: UInt8, level: float) -> bool:
    """Whether the middle of the photograph is no paper, so that what lies inside may be cropped to."""
    inside_HW = _inside(rgb_HWC, level)
    height, width = inside_HW.shape
    middle = inside_HW[height // 3 : 2 * height // 3 + 1, width // 3 : 2 * width // 3 + 1]
    return float(middle.mean()) > _MIDDLE_SHARE


def on_black(rgb_HWC: UInt8, level: float) -> UInt8:
    """The photograph with its paper black, `rgb_HWC`: what a model was trained on.

    Args:
        rgb_HWC: the photograph, or a copy.
        level: of the paper.
    """
    inside_HW = _inside(rgb_HWC, level)
    for _ in range(max(1, round(_EDGE_SHARE * min(inside_HW.shape)))):
        kept = np.zeros_like(inside_HW)
        middle = inside_HW[1:-1, 1:-1] & inside_HW[:-2, 1:-1] & inside_HW[2:, 1:-1]
        kept[1:-1, 1:-1] = middle & inside_HW[1:-1, :-2] & inside_HW[1:-1, 2:]
        inside_HW = kept
    return np.where(inside_HW[..., None], rgb_HWC, np.uint8(0))


def _inside(rgb_HWC: UInt8, level: float) -> Bool:
    """From the first to the last pixel that is no paper, of each row and each column: a bright disc is no hole."""
    eye_HW: Bool = rgb_HWC.min(axis=2) < PAPER_SHARE * level
    return _between(eye_HW, 0) & _between(eye_HW, 1)


def _between(mask_HW: Bool, axis: int) -> Bool:
    after = np.logical_or.accumulate(mask_HW, axis=axis)
    before = np.flip(np.logical_or.accumulate(np.flip(mask_HW, axis), axis=axis), axis)
    between_HW: Bool = after & before
    return between_HW
