"""Where the field of view lies in a photograph, and on which ground, for the gradability check. `imaging` crops by another.

Shapes: H, W pixels of a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from foveal_runtime.photo.ground import PAPER_SHARE, paper_level
from foveal_runtime.photo.imaging import Bool, UInt8

_PROBE_PX = 96
"""Long side of the copy on which the field of view is found, at least, where the photograph has so many."""
_BLACK = 18
"""Camera black stays below it in the brightest channel, unless the whole photograph is raised."""
_BLACK_SHARE = 0.2
"""Of the photograph's bright end: what is darker does not belong to the field of view."""

Planes = UInt8
"""Red, green and blue one after the other, `_3HW`."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What surrounds the field of view."""

    pale: bool
    """White or grey paper instead of camera black."""
    level: float
    """Of paper, 0 to 255; 0 where there is none."""
    threshold: float
    """Camera black lies below it in the brightest channel, paper above it in the darkest."""

    def lit(self, planes: Planes) -> Bool:
        """What belongs to the field of view, `lit_HW`."""
        red_HW, green_HW, blue_HW = planes
        if self.pale:
            # Retina takes blue first, so the darkest channel tells it from paper best.
            return np.asarray(np.minimum(np.minimum(red_HW, green_HW), blue_HW) < self.threshold)
        return np.asarray(np.maximum(np.maximum(red_HW, green_HW), blue_HW) > self.threshold)


@dataclass(frozen=True, slots=True)
class Field:
    """The disc over the field of view, in pixels of the photograph; may reach outside it."""

    x: float
    y: float
    radius: float
    lit_share: float
    """Of the photograph's pixels."""
    ground: Ground
    probe: Image.Image
    """The reduced copy on which it was found."""

    def box(self, picture: Image.Image) -> tuple[float, float, float, float]:
        """Its bounding square as far as the photograph reaches: left, top, right, bottom."""
        left, top = max(self.x - self.radius, 0.0), max(self.y - self.radius, 0.0)
        return left, top, min(self.x + self.radius, float(picture.width)), min(self.y + self.radius, float(picture.height))

    def on(self, copy: Image.Image, picture: Image.Image) -> Field:
        """The same field on a smaller copy of the picture."""
        scale = copy.width / picture.width
        return replace(self, x=self.x * scale, y=self.y * copy.height / picture.height, radius=self.radius * scale)


def planes_of(picture: Image.Image) -> Planes:
    """The channels of an RGB picture."""
    return np.asarray(picture).transpose(2, 0, 1).copy()


def find_field(picture: Image.Image) -> Field:
    """The field of view of an RGB photograph; the whole of it where none can be told."""
    factor = max(1, max(picture.size) // _PROBE_PX)
    probe = _reduced(picture, factor)
    planes = planes_of(probe)
    ground = _ground(planes)
    lit_HW = ground.lit(planes)
    height, width = lit_HW.shape
    # A stamped date or name must not widen the field: its rows and columns are lit far less than the disc's.
    counts_W, counts_H = lit_HW.sum(axis=0, dtype=np.int32), lit_HW.sum(axis=1, dtype=np.int32)
    columns, rows = (np.flatnonzero(counts > 0.15 * counts.max()) for counts in (counts_W, counts_H))
    if columns.size < 4 or rows.size < 4:
        columns, rows = np.arange(width), np.arange(height)
    x, y = picture.width / width, picture.height / height
    left, right, top, bottom = columns[0] * x, (columns[-1] + 1) * x, rows[0] * y, (rows[-1] + 1) * y
    share = float(counts_W.sum()) / lit_HW.size
    return Field((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2, share, ground, probe)


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    """So many times smaller. Averages every other pixel of every other row where there are enough: half the time."""
    if factor >= 4:
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.NEAREST)
        factor //= 2
    return picture.reduce(factor) if factor > 1 else picture


def _ground(planes: Planes) -> Ground:
    if level := paper_level(planes):
        return Ground(True, level, PAPER_SHARE * level)
    red, green, blue = (plane[::2, ::2] for plane in planes)
    brightest = np.maximum(np.maximum(red, green), blue).ravel()
    place = int(0.9 * (brightest.size - 1))
    return Ground(False, 0.0, max(_BLACK, _BLACK_SHARE * float(np.partition(brightest, place)[place])))
