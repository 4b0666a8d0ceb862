"""An ophthalmic DICOM file to pixels, and the three facts of its header that a record can use. Nothing else of it is kept.

Reads single-frame colour or grey images of 8 or 16 bits (Ophthalmic Photography 8 and 16 Bit Image Storage and their like),
native or in the compressions that Pillow decodes. Needs `foveal[dicom]`; runs in the worker, like every decoder.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import ImageError, StudyError
from foveal_runtime.imaging import ImageLimits, UInt8
from foveal_runtime.study import Eye, Record, Sex

_MAGIC_AT = 128
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEADER_BYTES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomPhotograph:
    """What is taken from a file."""

    rgb_HWC: UInt8
    record: Record
    """Age, sex and eye, as far as the header has them."""


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are a DICOM file (part 10)."""
    return data[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"


def read_dicom(data: bytes, limits: ImageLimits) -> DicomPhotograph:
    """Decode a file.

    Raises:
        ImageError: unreadable, without one image frame, too large, or of a kind that has no agreed conversion to RGB.
    """
    try:
        import pydicom
        from pydicom.pixels.utils import pixel_array
    except ImportError:
        raise ImageError(
            "image is DICOM, which this server does not read; install foveal[dicom] on it, or send a JPEG"
        ) from None
    # pydicom logs and warns with the values it stumbles over.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    if _DEFLATED in data[:_HEADER_BYTES]:
        raise ImageError("image is deflated DICOM, whose size can't be known before it is unpacked; send it uncompressed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            _check(dataset, limits)
            array = pixel_array(dataset)
            rgb_HWC = _to_rgb(dataset, array)
            record = _record(dataset)
    except StudyError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files
        raise ImageError(f"DICOM image can't be decoded ({type(error).__name__}); send an intact file or a JPEG") from None
    return DicomPhotograph(rgb_HWC=rgb_HWC, record=record)


def _check(dataset: Any, limits: ImageLimits) -> None:
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if not rows or not columns or "PixelData" not in dataset:
        raise ImageError("DICOM file holds no image; send the photograph's own file")
    if min(rows, columns) < limits.min_side_px:
        raise ImageError(f"image is {columns} x {rows} px, at least {limits.min_side_px} px a side are needed")
    if rows * columns > limits.max_pixels:
        raise ImageError(f"image is {columns} x {rows} px, over the limit of {limits.max_pixels} pixels; send it scaled down")
    if frames != 1:
        raise ImageError(f"image has {frames} frames; send one photograph a study")


def _to_rgb(dataset: Any, array: npt.NDArray[Any]) -> UInt8:
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        array = apply_color_lut(array, dataset)
        bits = 16 if array.dtype.itemsize > 1 else 8
    else:
        bits = int(dataset.get("BitsStored", 8))
    if int(dataset.get("PixelRepresentation", 0)) != 0 or not 1 <= bits <= 16:
        raise ImageError("DICOM image has signed pixels or more than 16 bits; send 8 or 16 bits a channel")
    eight = np.round(array.astype(np.float64) * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8) if bits != 8 else array
    if kind.startswith("MONOCHROME") and eight.ndim == 2:
        grey = 255 - eight if kind == "MONOCHROME1" else eight
        return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    if eight.ndim == 3 and eight.shape[2] == 3:
        return np.ascontiguousarray(eight, dtype=np.uint8)
    raise ImageError(f"DICOM image of kind {kind[:16]!r} has no agreed conversion to RGB; send RGB")


def _record(dataset: Any) -> Record:
    age = re.fullmatch(r"(\d{3})([YMWD])", str(dataset.get("PatientAge", "") or "").strip())
    years = int(age.group(1)) / {"Y": 1, "M": 12, "W": 52.1775, "D": 365.2425}[age.group(2)] if age else None
    sex = {"M": Sex.MALE, "F": Sex.FEMALE}.get(str(dataset.get("PatientSex", "") or "").strip())
    side = str(dataset.get("ImageLaterality", "") or dataset.get("Laterality", "") or "").strip()
    return Record(age_years=years, sex=sex, eye={"R": Eye.RIGHT, "L": Eye.LEFT}.get(side))


def filled(given: Record | None, header: Record) -> Record:
    """The request's record, with what the header knows where the request says nothing."""
    if given is None:
        return header
    return replace(
        given,
        age_years=header.age_years if given.age_years is None else given.age_years,
        sex=given.sex or header.sex,
        eye=given.eye or header.eye,
    )
