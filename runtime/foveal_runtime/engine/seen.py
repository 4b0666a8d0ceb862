"""One photograph as the image encoder takes it, and what is learnt of it on the way. Runs no graph.

Shape legend: see `foveal_runtime.engine.session`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from PIL.Image import Image

from foveal_runtime.engine.budget import MemoryBudget
from foveal_runtime.photo.dicom import is_dicom, read_dicom
from foveal_runtime.photo.imaging import Float32, Frame, ImageLimits, ImageSpec, framed, halved, photograph, standardise
from foveal_runtime.photo.quality import Quality, judge
from foveal_runtime.photo.structure import check_structure
from foveal_runtime.photo.walk import Structure
from foveal_runtime.study.study import Record

Decoding = Callable[[int, int], AbstractContextManager[None]]
"""Entered with the photograph's size in bytes, and that of the memory for it, while it is decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """See the module; without a photograph nothing is seen."""

    pixels_CHW: Float32 | None = field(default=None, repr=False)
    quality: Quality | None = None
    appearance: tuple[float, ...] = ()
    """Numbers of `photo.quality.APPEARANCE`."""
    frame: Frame | None = None
    header: Record = field(default_factory=Record)
    """What a DICOM header knows of the record."""
    device: str = ""
    """Camera that it names."""


def see(
    image: bytes,
    spec: ImageSpec,
    *,
    limits: ImageLimits,
    budget: MemoryBudget,
    min_gradable: float | None,
    decoding: Decoding,
) -> Seen:
    """Decode a photograph, judge whether it can be graded, and standardise it.

    Args:
        image: its file.
        spec: of the bundle.
        limits: what is refused before decoding.
        budget: of the memory that decoding may take.
        min_gradable: probability from which a photograph passes the gradability check; None is the check's own.
        decoding: entered while it is decoded.

    Raises:
        ImageError: it can't be read, or is refused.
    """
    structure = check_structure(image)
    limits.check_decoded(structure)
    with budget.hold(structure.decoded_bytes):
        with decoding(len(image), structure.decoded_bytes):
            picture, header, device = _picture(image, spec, limits, structure)
        assessment = judge(picture)
        square_SSC, frame = framed(picture, spec)
        return Seen(
            pixels_CHW=standardise(square_SSC, spec),
            quality=assessment.verdict(min_gradable),
            appearance=assessment.appearance,
            frame=frame,
            header=header,
            device=device,
        )


def _picture(image: bytes, spec: ImageSpec, limits: ImageLimits, structure: Structure) -> tuple[Image, Record, str]:
    """The photograph as it is resampled from, and what its header knows of the record and of the camera."""
    if not is_dicom(image):
        return photograph(image, spec, limits, structure), Record(), ""
    dicom = read_dicom(image, limits, structure)
    return halved(dicom.picture, spec), dicom.record, dicom.device
