"""An ophthalmic DICOM file to pixels, the three facts of its header that a record can use, and which camera took it. Nothing
else of it is kept.

Reads single-frame colour or grey images of 8 or 16 bits (Ophthalmic Photography 8 and 16 Bit Image Storage and their like),
native, RLE, JPEG baseline and JPEG 2000; others where a decoder of pydicom's for them is installed (python-gdcm, for example).
Needs `foveal[dicom]`; runs in the worker, like every decoder.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import warnings
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.errors import ImageError, StudyError
from foveal_runtime.photo.codestream import is_transformed
from foveal_runtime.photo.elements import has_preamble, is_dicom, transfer_syntax, walk_dicom
from foveal_runtime.photo.imaging import ImageLimits, UInt8
from foveal_runtime.photo.jpeg import frame_size, walk_jpeg
from foveal_runtime.photo.walk import Structure, strips
from foveal_runtime.study.study import Eye, Record, Sex

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PHOTOGRAPHIC = ("OP", "XC", "OT", "")
"""Modalities of photographs: ophthalmic, of a common camera, other, and unsaid."""
_OLDEST_YEARS = 120.0
_NO_DATE = ("19000101", "18991230", "18991231", "18000101", "17000101")
"""What programs write for a birth date that nobody knows."""
_COLOURS = {
    "native": ("RGB", "YBR_FULL", "YBR_FULL_422"),
    "JPEG 2000": ("RGB", "YBR_FULL", "YBR_ICT", "YBR_RCT"),
}
"""Photometric interpretations of three samples that pydicom makes RGB of; in what is compressed otherwise those of `native`."""
_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_DARK, _NEUTRAL, _NEAR_NEUTRAL = 24, 128, 24
_MODEL_CHARS = 40
_YEAR_APART = 1.0
"""Ages that differ by no more are the same: a request counts years, a header days."""
_DAYS_A_YEAR = 365.2425


__all__ = ["DicomPhotograph", "filled", "is_dicom", "read_dicom", "told_by_header"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomPhotograph:
    """What is taken from a file."""

    picture: Image.Image
    """RGB."""
    record: Record
    """Age, sex and eye, as far as the header has them."""
    device: str = ""
    """Model of the camera and, behind a #, eight digits that tell it from others of its model; empty where nothing says."""


def read_dicom(data: bytes, limits: ImageLimits, structure: Structure | None = None) -> DicomPhotograph:
    """Decode a file.

    Args:
        data: the file.
        limits: what is refused.
        structure: what `check_structure` found of it; None looks.

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
    limits.check_decoded(walk_dicom(data) if structure is None else structure)
    # pydicom logs and warns with the values it stumbles over.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    if not has_preamble(data):
        raise ImageError("DICOM data set has no preamble, so how it is written is a guess; send it as a file of DICOM part 10")
    if transfer_syntax(data) == _DEFLATED:
        raise ImageError("image is deflated DICOM, whose size can't be known before it is unpacked; send it uncompressed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            _check(dataset, limits)
            _believe_the_frame(dataset)
            rgb_HWC = _to_rgb(dataset, pixel_array(dataset))
            picture = Image.fromarray(rgb_HWC)
            if _is_mislabelled_ycc(dataset, rgb_HWC):
                picture = Image.frombytes("YCbCr", picture.size, picture.tobytes()).convert("RGB")
            record, device = _record(dataset), _device(dataset)
    except StudyError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files
        raise ImageError(f"DICOM image can't be decoded ({type(error).__name__}); send an intact file or a JPEG") from None
    return DicomPhotograph(picture=picture, record=record, device=device)


def _check(dataset: Any, limits: ImageLimits) -> None:
    """Refuse what must not be unpacked, before it is."""
    if _text(dataset, "Modality") not in _PHOTOGRAPHIC:
        raise ImageError("DICOM file is of a modality that takes no photographs; send one of OP, XC or OT")
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if not rows or not columns or "PixelData" not in dataset:
        raise ImageError("DICOM file holds no image; send the photograph's own file")
    limits.check(columns, rows)
    if frames != 1:
        raise ImageError(f"image has {frames} frames; send one photograph a study")
    _check_samples(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    from pydicom.pixels.decoders.base import get_decoder

    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        # The name is the standard's own, not the file's.
        raise ImageError(f"DICOM compression {syntax.name!r} has no decoder here; install python-gdcm, or send it uncompressed")
    if "JPEG" in syntax.name:
        # What the file says of its size binds nobody: the compressed frame has a header of its own.
        frame = _frame(dataset)
        if frame[:2] == b"\xff\xd8":
            limits.check_decoded(walk_jpeg(frame))
        if "JPEG-LS" in syntax.name or ("Lossless" in syntax.name and "2000" not in syntax.name):
            size = frame_size(frame)  # Pillow, which decodes the others, knows neither
        else:
            size = Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")).size
        if size != (columns, rows):
            raise ImageError("DICOM image is of another size than its header says; send an intact file")


def _check_samples(dataset: Any) -> None:
    """Refuse what would be read as something else: pydicom hands colours that it doesn't know on as they are."""
    kind, name = str(dataset.get("PhotometricInterpretation", "")), dataset.file_meta.TransferSyntaxUID.name
    colours = _COLOURS["JPEG 2000" if "2000" in name else "native"]
    if kind not in (*_GREYS, *colours):
        raise ImageError("DICOM image's photometric interpretation has no agreed conversion to RGB; send RGB")
    bits = int(dataset.get("BitsStored", 8))
    if int(dataset.get("HighBit", bits - 1)) != bits - 1:
        raise ImageError(
            "DICOM image's samples are not the low bits of their words; send an image whose HighBit is BitsStored - 1"
        )


def _frame(dataset: Any) -> bytes:
    """The compressed picture."""
    from pydicom.encaps import generate_frames

    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


def _believe_the_frame(dataset: Any) -> None:
    """Put right in the header what a compressed frame says better of itself."""
    name = dataset.file_meta.TransferSyntaxUID.name
    if "JPEG" in name:
        dataset.PlanarConfiguration = 0  # JPEG interleaves, whatever the header says (PS3.5, section 8.2.1)
    if "2000" in name and is_transformed(_frame(dataset)):
        dataset.PhotometricInterpretation = "RGB"  # pydicom would turn the colours back once more


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
    # By table: arithmetic in floating point would take eight times the photograph's memory.
    eight_bits = np.round(np.arange(2**bits) * (255.0 / (2**bits - 1))).astype(np.uint8)
    if bits == 8 and array.dtype == np.uint8:
        eight = array
    else:
        eight = np.empty(array.shape, np.uint8)
        for rows in strips(*array.shape[:2]):
            eight[rows] = eight_bits[np.minimum(array[rows], 2**bits - 1)]
    if kind.startswith("MONOCHROME") and eight.ndim == 2:
        grey = 255 - eight if kind == "MONOCHROME1" else eight
        return np.repeat(grey[..., None], 3, axis=2)
    if eight.ndim == 3 and eight.shape[2] == 3:
        return np.ascontiguousarray(eight)
    raise ImageError("DICOM image's photometric interpretation has no agreed conversion to RGB; send RGB")


def _is_mislabelled_ycc(dataset: Any, rgb_HWC: UInt8) -> bool:
    """Whether a JPEG frame that is labelled RGB holds YCbCr, as some devices write it. Pydicom heeds the frame's own word.

    Colour that is sampled more coarsely is no RGB. Else a photograph's dark border tells: luminance 0 goes with neutral colour.
    """
    if dataset.PhotometricInterpretation != "RGB" or "JPEG Baseline" not in dataset.file_meta.TransferSyntaxUID.name:
        return False
    image: Any = Image.open(io.BytesIO(_frame(dataset)), formats=("JPEG",))
    layers = image.layer
    if len(layers) != 3 or "jfif" in image.info or "adobe" in image.info or [layer[0] for layer in layers] == list(b"RGB"):
        return False
    if len({layer[1:3] for layer in layers}) > 1:
        return True
    dark_NC = rgb_HWC[rgb_HWC[..., 0] < _DARK]
    if dark_NC.shape[0] < 0.01 * rgb_HWC.shape[0] * rgb_HWC.shape[1]:
        return False
    return bool((np.abs(np.median(dark_NC[:, 1:], axis=0) - _NEUTRAL) < _NEAR_NEUTRAL).all())


def _record(dataset: Any) -> Record:
    sex = {"M": Sex.MALE, "F": Sex.FEMALE}.get(_text(dataset, "PatientSex"))
    side = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    return Record(age_years=_age_years(dataset), sex=sex, eye={"R": Eye.RIGHT, "L": Eye.LEFT}.get(side))


def _device(dataset: Any) -> str:
    """The camera; its serial number and station as a hash alone."""
    words = [_text(dataset, name) for name in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName")]
    if not any(words):
        return ""
    model = re.sub(r"[^A-Za-z0-9 ._/+-]", "", words[1])[:_MODEL_CHARS].strip()
    return f"{model}#{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"


def _age_years(dataset: Any) -> float | None:
    """PatientAge; where a device writes none, as many do, the years from birth to the photograph.

    None where both are missing or nobody has that age: devices and programs write placeholders.
    """
    age = re.fullmatch(r"(\d{1,3})([YMWD])", _text(dataset, "PatientAge"))
    if age:
        told = int(age.group(1)) / {"Y": 1, "M": 12, "W": _DAYS_A_YEAR / 7, "D": _DAYS_A_YEAR}[age.group(2)]
        if told <= _OLDEST_YEARS:
            return told
    birth = _text(dataset, "PatientBirthDate")
    born = None if birth[:8] in _NO_DATE else _date(birth)
    taken = next(
        (
            day
            for name in ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate")
            if (day := _date(_text(dataset, name)))
        ),
        None,
    )
    if born is None or taken is None or taken < born:
        return None
    years = (taken - born).days / _DAYS_A_YEAR
    return years if years <= _OLDEST_YEARS else None


def _text(dataset: Any, name: str) -> str:
    return str(dataset.get(name, "") or "").strip()


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text[:8], "%Y%m%d").date()
    except ValueError:
        return None


def filled(given: Record | None, header: Record) -> Record:
    """The request's record, with what the header knows where the request says nothing.

    Raises:
        StudyError: the two contradict each other: another eye or sex, or ages more than a year apart.
    """
    if given is None:
        return header
    for field in ("eye", "sex"):
        ours, theirs = getattr(given, field), getattr(header, field)
        if ours is not None and theirs is not None and ours is not theirs:
            raise _contradiction(field)
    if given.age_years is not None and header.age_years is not None and abs(given.age_years - header.age_years) > _YEAR_APART:
        raise _contradiction("age_years")
    return replace(
        given,
        age_years=header.age_years if given.age_years is None else given.age_years,
        sex=given.sex or header.sex,
        eye=given.eye or header.eye,
    )


def told_by_header(given: Record, used: Record, header: Record) -> tuple[str, ...]:
    """Fields that a record left out and a header told; the eye also where no record was made of it: exams go by it."""
    names = [
        f"record.{name}" for name in ("age_years", "sex") if getattr(given, name) is None and getattr(used, name) is not None
    ]
    return (*names, "record.eye") if given.eye is None and header.eye is not None else tuple(names)


def _contradiction(field: str) -> StudyError:
    path = f"record.{field}"
    return StudyError(
        f"{path} contradicts the DICOM file's header: one of them is of another patient or eye; mend it", field=path
    )
