"""Photographs that are nearly the same: one exposure and another, with and without an anonymising box. A perceptual hash.

The frame is made 64 x 64 px; a bit tells whether a pixel inside the field of view is brighter than its surroundings, which
exposure and colour do not change. Two photographs are near where enough of these bits agree. They are reported, never merged:
a follow-up photograph of the same eye may be near as well. A photograph that was cut or turned is not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 64
_RADIUS_PX = 2
"""Of the surroundings that a pixel is compared with: vessels and lesions stay, shading and exposure go."""
_CENTRE = 0.46
"""Radius, in widths, of the circle whose bits count: the rim is alike in all photographs."""
MIN_AGREEMENT = 0.80
"""Share of bits that agree in near photographs; docs/decisions.md has the figures behind it."""
_MIN_TEXTURE = 0.15
"""Least share of bits of either kind: all plain pictures are alike."""
_ROWS_AT_ONCE = 1024

Bits = npt.NDArray[np.bool_]


def perceptual_hash(rgb_HWC: npt.NDArray[np.uint8]) -> Bits | None:
    """The bits of a decoded photograph, always the same number of them; None for one without any texture."""
    # In floating point: a dark photograph has few whole steps between a vessel and its surroundings.
    small = Image.fromarray(rgb_HWC[..., 1].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    around = _blurred(np.asarray(small))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    bits = np.asarray((np.asarray(small) > around)[np.hypot(y, x) < _CENTRE * SIDE])
    return bits if _MIN_TEXTURE < bits.mean() < 1 - _MIN_TEXTURE else None


def _blurred(pixels_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over a square of 2 `_RADIUS_PX` + 1, edges repeated."""
    side = 2 * _RADIUS_PX + 1
    sums = np.pad(np.pad(pixels_HW, _RADIUS_PX, "edge").cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray((sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2)


def near_pairs(hashes: Sequence[Bits]) -> list[tuple[int, int, float]]:
    """Pairs of places whose bits agree by `MIN_AGREEMENT` or more, with the share that agrees, in order."""
    if len(hashes) < 2:
        return []
    signs_NB = np.stack(hashes).astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        agree = (signs_NB[start : start + _ROWS_AT_ONCE] @ signs_NB[start:].T / signs_NB.shape[1] + 1) / 2
        for i, j in np.argwhere(agree >= MIN_AGREEMENT):
            if i < j:
                pairs.append((start + int(i), start + int(j), float(agree[i, j])))
    return pairs


def near_some(hashes: Sequence[Bits | None], others: Sequence[Bits | None]) -> Bits:
    """Which photographs are near one of `others`; one without any texture is near none."""
    found = np.zeros(len(hashes), bool)
    rows = [row for row, bits in enumerate(hashes) if bits is not None]
    theirs = [bits for bits in others if bits is not None]
    if rows and theirs:
        own_NB, theirs_NB = (
            np.stack(each).astype(np.float32) * 2 - 1 for each in ([bits for bits in hashes if bits is not None], theirs)
        )
        found[rows] = (own_NB @ theirs_NB.T / own_NB.shape[1] + 1).max(axis=1) / 2 >= MIN_AGREEMENT
    return found
