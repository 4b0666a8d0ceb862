"""Photographs of a given size from real ones, and what foveal's own engine answers to them. Writes no file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from peers.grader import Grader
from peers.load import Reply

_QUALITY = 90
TOLERANCE = 1e-3
"""By which a logit may differ: libraries and batches differ among servers, graphs do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photographs:
    """Of one size."""

    files: tuple[bytes, ...]
    """JPEG."""
    expected: tuple[tuple[float, ...], ...]
    """Probabilities of the ICDR grades."""

    def right(self, number: int, reply: Reply) -> bool:
        """Whether an answer is foveal's."""
        return reply.probabilities is not None and agrees(reply.probabilities, self.expected[number])

    @property
    def kilobytes(self) -> float:
        """Mean size of a file."""
        return round(sum(map(len, self.files)) / len(self.files) / 1024, 1)


def agrees(got: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether logits agree, which logarithms of probabilities are but for a constant that is the same in both."""
    if len(got) != len(expected) or not all(0 < each <= 1 for each in got):
        return False
    return all(abs(math.log(a) - math.log(b)) <= TOLERANCE for a, b in zip(got, expected, strict=True))


def of_size(data: bytes, longer_px: int) -> bytes:
    """A photograph whose longer side has so many pixels, as JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = longer_px / max(image.size)
    made = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.LANCZOS).save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()


def photographs_of(real: Sequence[bytes], longer_px: int, grader: Grader) -> Photographs:
    """Those of the real ones that are graded at this size.

    Args:
        real: files.
        longer_px: pixels of the longer side.
        grader: foveal's own engine.

    Raises:
        ValueError: none of them is graded, so no answer could be judged.
    """
    made = [of_size(each, longer_px) for each in real]
    graded = [(file, tuple(answer)) for file, answer in zip(made, grader(made), strict=True) if answer]
    if not graded:
        raise ValueError(f"none of {len(made)} photographs of {longer_px} px can be graded; give others")
    return Photographs(files=tuple(file for file, _ in graded), expected=tuple(answer for _, answer in graded))
